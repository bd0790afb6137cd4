"""The production profile without containers: PostgreSQL, Redis, an S3 server, and Facet's parts as processes."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import local_http
from tests.support.processes import PATIENCE, PostgreSQL, answers, free_port, running, wait_for
from tests.support.s3_server import is_installed
from tests.support.stack import ROOT, Stack

S3_KEYS = ("facet", "facet-secret")


def missing() -> str:
    """What is not installed of the services that this profile needs; empty where all is there."""
    parts = {
        "PostgreSQL (Debian's)": any(Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        "redis-server": shutil.which("redis-server") is not None,
        "Ceph's S3 server": is_installed(),
    }
    return ", ".join(name for name, there in parts.items() if not there)


@contextmanager
def redis(folder: Path, password: str) -> Iterator[str]:
    """A Redis server with a password; its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--requirepass", password, "--save", ""]
    with running(command, folder / "redis.log", cwd=folder):
        wait_for(lambda: answers(port), 20, "Redis answers")
        yield f"redis://:{password}@127.0.0.1:{port}/0"


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """An S3 server that checks signatures where Ceph's is installed, else moto; its `host:port`."""
    port = free_port()
    if is_installed():
        server = [str(ROOT / "tests" / "support" / "s3_server.py"), str(folder / "ceph"), f"127.0.0.1:{port}", *S3_KEYS]
    else:
        server = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running([sys.executable, *server], folder / "s3.log"):
        wait_for(lambda: answers(port), 60, "the S3 server answers")
        yield f"127.0.0.1:{port}"


@contextmanager
def production(home: Path) -> Iterator[Stack]:
    """API, worker, Prefect's server and its services, each a process; ready for submissions when it is yielded."""
    with ExitStack() as closing:
        home.mkdir(parents=True)
        (home / "postgresql").mkdir()
        postgres = PostgreSQL(home / "postgresql")
        closing.callback(postgres.close)
        postgres.start()
        for name in ("facet", "prefect"):
            postgres.create(name)
        redis_url = closing.enter_context(redis(home, secrets.token_hex(8)))
        endpoint = closing.enter_context(s3(home))
        port, prefect_port = free_port(), free_port()
        prefect_url = f"http://127.0.0.1:{prefect_port}/api"
        stack = Stack(
            home,
            port,
            prefect_port,
            {
                "FACET_DATABASE_URL": f"{postgres.url}/facet",
                "FACET_STORE": "s3",
                "FACET_S3_ENDPOINT": endpoint,
                "FACET_S3_ACCESS_KEY": S3_KEYS[0],
                "FACET_S3_SECRET_KEY": S3_KEYS[1],
                "FACET_S3_SECURE": "false",
                "FACET_WORKER_SLOTS": "1",
                "FACET_OUTBOUND_ALLOW": "127.0.0.1",
                "PREFECT_HOME": str(home / "prefect"),
                "PREFECT_API_URL": prefect_url,
                "PREFECT_API_DATABASE_CONNECTION_URL": f"{postgres.url}/prefect".replace("psycopg2", "asyncpg"),
                "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
                "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
                "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
                "PREFECT_REDIS_MESSAGING_URL": redis_url,
                "PREFECT_SERVER_DOCKET_URL": redis_url,
                "DO_NOT_TRACK": "1",
                "PYTHONPATH": str(ROOT),
            },
        )
        prefect = [sys.executable, "-m", "prefect", "server"]
        run(stack, [*stack.command, "db", "upgrade"])
        run(stack, [*prefect, "database", "upgrade", "--yes"])
        parts = {
            "prefect-server": [*prefect, "start", "--host", "127.0.0.1", "--port", str(prefect_port), "--no-services"],
            "prefect-services": [*prefect, "services", "start"],
        }
        for name, command in parts.items():
            closing.enter_context(_part(stack, name, command))
        wait_for(lambda: local_http.succeeds(f"{prefect_url}/health"), 90, "Prefect's server answers")
        run(stack, [*stack.command, "deploy"])
        for name in ("api", "worker"):
            closing.enter_context(_part(stack, name, [*stack.command, name]))
        wait_for(lambda: local_http.succeeds(f"{stack.url}/readyz"), 60, "the API is ready")
        yield stack


def run(stack: Stack, command: list[str]) -> str:
    done = subprocess.run(
        command,
        env=stack.environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def _part(stack: Stack, name: str, command: list[str]):  # type: ignore[no-untyped-def]
    environment = stack.environment | {"PREFECT_HOME": str(stack.home / name)}
    return running(command, stack.home / f"{name}.log", env=environment, cwd=ROOT)
