"""The two profiles as running processes, each behind proxies that can be made to fail."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from facet.persistence.database import Database
from facet.storage import FolderStore, ObjectStore
from facet.storage.s3 import S3Store
from tests.faults.proxy import FaultProxy
from tests.support import local_http
from tests.support.processes import PostgreSQL, free_port, running, wait_for
from tests.support.production import S3_KEYS
from tests.support.production import s3 as s3_server
from tests.support.scripted import Scripted, answer, scripted
from tests.support.stack import ROOT, Stack, new_stack

LEASE_SECONDS = 4
READY_SECONDS = 180
_QUICK = {
    "FACET_LEASE_SECONDS": str(LEASE_SECONDS),
    "FACET_RUN_SECONDS": "60",
    "FACET_PENDING_SECONDS": "10",
    "FACET_DISPATCH_SECONDS": "0.5",
    "FACET_CALLBACK_TIMEOUT": "2",
    "FACET_OUTBOUND_ALLOW": "127.0.0.1",
    "FACET_MAX_BATCH": "16",
    "FACET_MIN_FREE_BYTES": "0",  # so that a full disk is met, and not avoided
    "FACET_WORKER_SLOTS": "2",
}
_PROGRAM = """
[program:{name}]
command={python} -m cli.main {command}
environment=FACET_PORT="{port}"
stdout_logfile={home}/logs/{name}.log
redirect_stderr=true
autorestart=true
startsecs=1
startretries=1000
killasgroup=true
"""


@dataclass
class Deployment:
    """A running service; its parts are ended and frozen by fault injectors, and restarted by supervisord."""

    profile: str
    stack: Stack
    command: list[str]
    database: Database
    store: ObjectStore
    """The store itself, past its proxy."""
    api: list[FaultProxy]
    """One before each API process; what clients use."""
    receiver: FaultProxy
    received: Scripted
    """The callback receiver behind `receiver`."""
    postgres: PostgreSQL | None = None
    s3: FaultProxy | None = None
    disks: dict[str, Path] = field(default_factory=dict)
    """Small file systems of their own, where they could be mounted."""
    extra: dict[str, str] = field(default_factory=dict)
    _process: ExitStack = field(default_factory=ExitStack)

    @property
    def callback_url(self) -> str:
        return f"http://127.0.0.1:{self.receiver.port}/callback"

    def start(self) -> None:
        """Start, or start again, and wait until every part answers."""
        log = self.stack.home.parent / f"{self.profile}.log"
        environment = self.stack.environment | self.extra
        process = self._process.enter_context(running(self.command, log, env=environment, cwd=ROOT))
        wait_for(lambda: process.poll() is not None or self.is_ready(), READY_SECONDS, "the service is ready")
        assert process.poll() is None, log.read_text()

    def kill(self) -> None:
        """All of its processes at once, their supervisor first."""
        for part in ("supervisord", ""):
            for process in self.stack.processes(part):
                process.kill()
        self._process.close()
        psutil.wait_procs(self.stack.processes(), timeout=10)

    def facet(self, *arguments: str) -> None:
        """A command of the operator's."""
        command = [*self.stack.command, *arguments]
        done = subprocess.run(
            command, env=self.stack.environment | self.extra, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def lose_prefects_database(self) -> None:
        """Its server is ended with it, and starts again with an empty one."""
        servers = self.stack.processes("prefect-server")
        if self.postgres:
            self.postgres.create_again("prefect")
        else:
            self.stack.lose_prefects_database()
        for server in servers:
            with suppress(psutil.NoSuchProcess):
                server.kill()

    def await_prefect(self) -> None:
        wait_for(lambda: _is_healthy(self.stack.prefect_port), READY_SECONDS, "Prefect answers")

    def is_ready(self) -> bool:
        """Whether every API process has all its parts, and a worker polls the pool."""
        try:
            workers = self.stack.prefect("/work_pools/faces/workers/filter")
            return any(worker["status"] == "ONLINE" for worker in workers) and all(
                local_http.get(f"http://127.0.0.1:{api.upstream_port}/readyz", timeout=10).json()["status"] == "ok"
                for api in self.api
            )
        except (httpx.HTTPError, ValueError, KeyError):
            return False


@contextmanager
def embedded(home: Path) -> Iterator[Deployment]:
    """`facet up`: SQLite, a folder, and supervisord, which restarts what ends."""
    with ExitStack() as stack:
        disks = stack.enter_context(_disks({"home": home, "objects": home / "objects"}))
        service = new_stack(home, **_QUICK)
        received = stack.enter_context(scripted(answer()))
        target = Deployment(
            "embedded",
            service,
            [*service.command, "up"],
            Database(f"sqlite:///{home / 'facet.db'}"),
            FolderStore(home / "objects"),
            [FaultProxy(service.port)],
            FaultProxy(received.port),
            received,
            disks=disks,
        )
        with _running(target):
            yield target


@contextmanager
def production(home: Path) -> Iterator[Deployment]:
    """PostgreSQL for Facet and for Prefect, S3, and two API processes, restarted as compose would restart them."""
    with ExitStack() as stack:
        (home / "logs").mkdir(parents=True)
        (home / "postgresql").mkdir()
        postgres = PostgreSQL(home / "postgresql")
        stack.callback(postgres.close)
        postgres.start()
        for name in ("facet", "prefect"):
            postgres.create(name)
        endpoint = stack.enter_context(s3_server(home))
        s3 = FaultProxy(int(endpoint.rpartition(":")[2]))
        ports = [free_port(), free_port()]
        service = new_stack(
            home,
            **_QUICK,
            FACET_DATABASE_URL=f"{postgres.url}/facet",
            FACET_STORE="s3",
            FACET_S3_ENDPOINT=f"127.0.0.1:{s3.port}",
            FACET_S3_ACCESS_KEY=S3_KEYS[0],
            FACET_S3_SECRET_KEY=S3_KEYS[1],
            FACET_S3_SECURE="false",
        )
        prefect_database = f"{postgres.url}/prefect".replace("psycopg2", "asyncpg")
        config = home / "supervisor.conf"
        config.write_text(_supervisor_config(home, service, ports))
        received = stack.enter_context(scripted(answer()))
        target = Deployment(
            "production",
            service,
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-s", "-c", str(config)],
            Database(f"{postgres.url}/facet"),
            S3Store(endpoint, access_key=S3_KEYS[0], secret_key=S3_KEYS[1], bucket="facet", secure=False),
            [FaultProxy(port) for port in ports],
            FaultProxy(received.port),
            received,
            postgres=postgres,
            s3=s3,
            extra={
                "FACET_STACK": str(home),
                "FACET_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
                "PREFECT_HOME": str(home / "prefect"),
                "PREFECT_API_URL": f"http://127.0.0.1:{service.prefect_port}/api",
                "PREFECT_API_DATABASE_CONNECTION_URL": prefect_database,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
        )
        _set_up(target)
        with _running(target):
            yield target


def _supervisor_config(home: Path, service: Stack, ports: list[int]) -> str:
    config = f"[supervisord]\nlogfile={home}/logs/supervisor.log\npidfile={home}/supervisor.pid\nuser={_user()}\n"
    programs = [("prefect", "prefect-server"), ("worker", "worker")]
    parts = [(name, command, service.port) for name, command in programs]
    parts += [(f"api-{number}", "api", port) for number, port in enumerate(ports, 1)]
    for name, command, port in parts:
        config += _PROGRAM.format(name=name, command=command, port=port, home=home, python=sys.executable)
    return config


def _user() -> str:
    return psutil.Process().username()


def _set_up(target: Deployment) -> None:
    """What a release does once, before the service starts: migrations, and the deployments in Prefect."""
    environment = target.stack.environment | target.extra
    facet = [sys.executable, "-m", "cli.main"]
    home, port = target.stack.home, target.stack.prefect_port
    with running([*facet, "prefect-server"], home / "logs" / "set-up.log", env=environment, cwd=ROOT):
        wait_for(lambda: _is_healthy(port), READY_SECONDS, "Prefect answers")
        target.facet("db", "upgrade")
        target.facet("deploy")


def _is_healthy(prefect_port: int) -> bool:
    return local_http.succeeds(f"http://127.0.0.1:{prefect_port}/api/health")


@contextmanager
def _running(target: Deployment) -> Iterator[None]:
    try:
        target.start()
        yield
    finally:
        target.kill()
        target.database.close()
        for proxy in [*target.api, target.receiver, *([target.s3] if target.s3 else [])]:
            proxy.close()


@contextmanager
def _disks(folders: dict[str, Path]) -> Iterator[dict[str, Path]]:
    """Mount a small file system on each folder, where that is allowed; outer folders first."""
    mounted: dict[str, Path] = {}
    try:
        for name, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            mount = ["mount", "-t", "tmpfs", "-o", "size=192m", "facet-faults", str(folder)]
            if subprocess.run(mount, capture_output=True).returncode == 0:
                mounted[name] = folder
        yield mounted
    finally:
        for folder in reversed(mounted.values()):
            subprocess.run(["umount", "-l", str(folder)], check=True)
