"""The embedded stack as a user runs it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

from facet.local import url_of
from tests.support import local_http
from tests.support.prefect_database import migrate_prefect
from tests.support.processes import bare_environment, free_port, running, wait_for

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Stack:
    """A `facet up` on free ports, in a home of its own."""

    home: Path
    port: int
    prefect_port: int
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        inherited = bare_environment()
        return inherited | {
            "FACET_HOME": str(self.home),
            "FACET_PORT": str(self.port),
            "FACET_PREFECT_PORT": str(self.prefect_port),
            "FACET_LEASE_SECONDS": "5",
            "FACET_START_SECONDS": "200",  # less than the tests wait: it says what is missing
            **self.settings,
        }

    @property
    def url(self) -> str:
        return url_of(self.settings.get("FACET_HOST", "127.0.0.1"), self.port)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "cli.main"]

    def submit(self, data: bytes, **fields: str) -> dict[str, Any]:
        answer = local_http.post(f"{self.url}/v1/images", files={"image": ("photo.jpg", data)}, data=fields, timeout=30)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def image(self, image_id: str) -> dict[str, Any]:
        return dict(local_http.get(f"{self.url}/v1/images/{image_id}", timeout=30).raise_for_status().json())

    def finished(self, image_id: str, seconds: float = 90) -> dict[str, Any]:
        wait_for(lambda: self.image(image_id)["status"] not in ("queued", "processing"), seconds, "the image ended")
        return self.image(image_id)

    def prefect(self, path: str, *, method: str = "POST", **body: Any) -> Any:
        """Ask the Prefect API; again where its SQLite was busy, which it answers with 503."""
        url = f"http://127.0.0.1:{self.prefect_port}/api{path}"
        answers: list[httpx.Response] = []

        def accepted() -> bool:
            answers.append(local_http.request(method, url, json=body if method != "GET" else None, timeout=30))
            return answers[-1].status_code != 503

        wait_for(accepted, 60, f"Prefect's server does {path}")
        answer = answers[-1].raise_for_status()
        return answer.json() if answer.content else None

    def delete_in_prefect(self, path: str) -> None:
        """As people do in its UI: a work pool, a queue, a deployment or flow by its name."""
        kind, _, name = path.removeprefix("/").partition("/")
        if kind in ("deployments", "flows"):
            path = f"/{kind}/{self.prefect(f'/{kind}/name/{name}', method='GET')['id']}"
        self.prefect(path, method="DELETE")

    def lose_prefects_database(self) -> None:
        """Put an empty database in the place of Prefect's; its server, which is frozen, has to be ended then."""
        for server in self.processes("prefect-server"):
            server.suspend()
        for file in (self.home / "prefect").glob("prefect.db*"):
            file.unlink()
        migrate_prefect(self.home / "prefect")

    def run_of(self, deployment: str) -> str:
        """A new run of this deployment, made by hand; returns its id."""
        found = self.prefect("/deployments/filter", deployments={"name": {"any_": [deployment]}})[0]
        return str(self.prefect(f"/deployments/{found['id']}/create_flow_run", name=f"by-hand-{uuid4()}")["id"])

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        return dict(self.prefect("/flow_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}})[0])

    def processes(self, part: str = "") -> list[psutil.Process]:
        """The stack's living processes of which the command line holds `part`."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FACET_STACK") == str(self.home) and part in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    @contextmanager
    def prefect_away(self) -> Iterator[None]:
        """Prefect's server does not answer until the block ends; what is submitted meanwhile waits together."""
        servers = self.processes("prefect-server")
        assert servers
        for server in servers:
            server.suspend()
        try:
            yield
        finally:
            for server in servers:
                server.resume()


def new_stack(home: Path, **settings: str) -> Stack:
    return Stack(home, free_port(), free_port(), settings)


@contextmanager
def started(stack: Stack) -> Iterator[psutil.Popen]:
    """Run the stack until the block ends; yields its foreground process once it is ready."""
    migrate_prefect(stack.home / "prefect")
    log = stack.home.parent / "up.log"
    try:
        with running([*stack.command, "up"], log, env=stack.environment, cwd=ROOT) as process:
            wait_for(lambda: process.poll() is not None or "Prefect UI" in log.read_text(), 120, "the stack is ready")
            assert process.poll() is None, log.read_text()
            yield process
    finally:
        for process in stack.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
