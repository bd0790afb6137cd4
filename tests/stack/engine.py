"""The Docker engine and compose, and what a test asks of them."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]


class NoEngine(Exception):
    """There is no Docker engine that this test could use."""


def docker(*arguments: str, seconds: float = 120, **options: Any) -> str:
    """Run docker; its output. Raises CalledProcessError with what it said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds, cwd=ROOT, **options)
    if done.returncode:
        said = f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        raise RuntimeError(f"docker {' '.join(arguments)} ended with status {done.returncode}:\n{said}")
    return done.stdout


def logs(container: str) -> str:
    """What the container has said so far."""
    done = subprocess.run(["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.stdout.decode(errors="replace")


@contextmanager
def created_containers(label: str) -> Iterator[set[str]]:
    """The label's values of the containers that are created meanwhile; filled at the end."""
    values: set[str] = set()
    command = ["docker", "events", "--since", str(int(time.time())), "--filter", "event=create"]
    command += ["--format", f'{{{{index .Actor.Attributes "{label}"}}}}']
    # Listened to all the while: the engine remembers 256 events, and health checks are events, too.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        try:
            yield values
        finally:
            listening.terminate()
            said, _ = listening.communicate(timeout=30)
            values |= set(said.split())


def check_engine() -> str:
    """The engine's version. Raises NoEngine with what is missing."""
    if not shutil.which("docker"):
        raise NoEngine("there is no `docker` command")
    for what, arguments in {
        "no Docker engine answers": ["info", "-f", "{{.ServerVersion}}"],
        "the engine has no compose plugin": ["compose", "version", "--short"],
        "the engine has no buildx plugin": ["buildx", "version"],
    }.items():
        try:
            docker(*arguments, seconds=30)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise NoEngine(f"{what}: {str(error).splitlines()[-1]}") from error
    engine, compose = docker("info", "-f", "{{.ServerVersion}}"), docker("compose", "version", "--short")
    return f"engine {engine.strip()}, compose {compose.strip()}"


@dataclass
class Compose:
    """One project of docker-compose.yaml, with its variables."""

    project: str
    variables: dict[str, str]
    files: list[str] = field(default_factory=lambda: ["docker-compose.yaml", "tests/stack/compose.yaml"])

    def __call__(self, *arguments: str, seconds: float = 300, **variables: str) -> str:
        return docker("compose", *arguments, seconds=seconds, env=self.environment | variables)

    def run(self, service: str, *command: str) -> tuple[int, str]:
        """Run a one-shot service; its exit status and output."""
        arguments = ["docker", "compose", "run", "--rm", "--no-deps", "-T", service, *command]
        done = subprocess.run(arguments, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """What makes a plain `docker compose` mean this project, in scripts too."""
        files = {"COMPOSE_FILE": ":".join(self.files), "COMPOSE_PROJECT_NAME": self.project}
        return os.environ | files | self.variables

    def containers(self, service: str) -> list[dict[str, Any]]:
        """The service's running containers, as `docker inspect` tells of them."""
        ids = self("ps", "-q", service).split()
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def address(self, service: str) -> str:
        """An address of the service's first container, as this machine reaches it."""
        networks: Mapping[str, Any] = self.containers(service)[0]["NetworkSettings"]["Networks"]
        return str(networks[f"{self.project}_inner"]["IPAddress"])

    def query(self, sql: str, database: str = "facet") -> list[str]:
        """The rows of a query."""
        out = self("exec", "-T", "postgres", "psql", "-U", "postgres", "-d", database, "-Atqc", sql)
        return out.splitlines()

    def await_healthy(self, service: str, seconds: float = 120) -> None:
        """Until every container of the service is healthy; one without a health check, running."""
        until = time.monotonic() + seconds
        while True:
            states = [each["State"] for each in self.containers(service)]
            if states and all(s.get("Health", {}).get("Status", s["Status"]) in ("healthy", "running") for s in states):
                return
            if time.monotonic() > until:
                raise TimeoutError(f"{service} is not healthy after {seconds} s: {states}")
            time.sleep(0.5)

    def cpu_seconds(self) -> dict[str, float]:
        """The processor time that each service's running containers have used since they started."""
        used: dict[str, float] = {}
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket()), base_url="http://docker", timeout=30) as engine:
            for container in self("ps", "--format", "{{.ID}} {{.Service}}").splitlines():
                container_id, service = container.split()
                stats = engine.get(f"/containers/{container_id}/stats?stream=false&one-shot=true").json()
                used[service] = used.get(service, 0.0) + stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        return used


def socket() -> str:
    """The engine's socket, which is on this machine."""
    endpoint = docker("context", "inspect", "-f", "{{.Endpoints.docker.Host}}").strip()
    return endpoint.removeprefix("unix://")


@contextmanager
def timed(what: str, laps: dict[str, float]) -> Iterator[None]:
    """Say what is done, and note the seconds that it took."""
    begun = time.monotonic()
    print(f"{what} …", flush=True)
    yield
    laps[what] = round(time.monotonic() - begun, 1)
    print(f"{what}: {laps[what]} s", flush=True)
