"""The service's processes, each started by itself so that its CPU time and memory can be told apart."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from tests.support import local_http
from tests.support.processes import bare_environment, free_port, postgresql, running, wait_for
from tests.support.receiver import serving

ROOT = Path(__file__).parents[2]


class Parts:
    """Processes by name, each started by itself, and what they cost; all end with the block."""

    def __init__(self, home: Path, environment: dict[str, str], cwd: Path = ROOT) -> None:
        self.environment = environment
        self._home = home
        self._cwd = cwd
        self._processes: dict[str, psutil.Process] = {}
        self._ended = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed(list(self._processes)):  # a worker's children have sessions of their own
            self.kill(name)
        self._stack.close()

    def start(self, name: str, command: Sequence[str]) -> None:
        process = running(command, self._home / f"{name}-{self._ended}.log", env=self.environment, cwd=self._cwd)
        self._processes[name] = psutil.Process(self._stack.enter_context(process).pid)

    def do(self, command: Sequence[str]) -> None:
        """Run a command to its end."""
        log = self._home / "setup.log"
        with running(command, log, env=self.environment, cwd=self._cwd) as process:
            assert process.wait(timeout=120) == 0, log.read_text()

    def kill(self, name: str) -> None:
        """Kill -9 of a process and of all that it started."""
        process = self._processes.pop(name)
        self._ended += 1
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """It does not answer until the block ends."""
        self._processes[name].suspend()
        try:
            yield
        finally:
            self._processes[name].resume()

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each part so far, its children apart where it has any."""
        spent: dict[str, float] = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            ended = times.children_user + times.children_system
            alive = sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
            spent[name] = times.user + times.system
            if ended + alive:
                spent[f"{name}'s children"] = ended + alive
        return spent

    def memory_mb(self) -> dict[str, float]:
        """Resident megabytes of each part with its children."""
        return {
            name: round(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6)
            for name, process in self._processes.items()
        }


@dataclass
class Target:
    """Something that runs and takes photos."""

    url: str
    parts: Parts
    worker: Sequence[str]
    """The command that starts its worker."""


@dataclass
class Service(Target):
    """Facet, running."""

    prefect_url: str

    def flow_runs(self) -> list[dict[str, Any]]:
        """All flow runs of detection that Prefect knows."""
        found: list[dict[str, Any]] = []
        while True:
            page = httpx.post(
                f"{self.prefect_url}/flow_runs/filter",
                json={
                    "flows": {"name": {"any_": ["detect-faces"]}},
                    "offset": len(found),
                    "limit": 200,
                    "sort": "START_TIME_ASC",
                },
                timeout=60,
            )
            page.raise_for_status()
            found += page.json()
            if len(page.json()) < 200:
                return found


@contextmanager
def service(
    home: Path, *, profile: str, worker: str, slots: int, tree: Path = ROOT, **settings: str
) -> Iterator[Service]:
    """The service with a `warm` or a `stock` worker, on SQLite (`embedded`) or PostgreSQL, ready to take photos.

    `tree`: the checkout whose service it is, with its environment in `.venv` if that is another one than this.
    """
    port, prefect_port = free_port(), free_port()
    home.mkdir(parents=True)
    prefect_url = f"http://127.0.0.1:{prefect_port}/api"
    environment = bare_environment() | {
        "FACET_HOME": str(home),
        "FACET_PORT": str(port),
        "FACET_WORKER_SLOTS": str(slots),
        "FACET_OUTBOUND_ALLOW": "127.0.0.1",
        **({} if tree == ROOT else {"FACET_CALLBACK_ALLOW": "127.0.0.1"}),  # its name in earlier versions
        "FACET_PREFECT_PORT": str(prefect_port),
        "PREFECT_API_URL": prefect_url,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **settings,
    }
    facet = [sys.executable if tree == ROOT else str(tree / ".venv" / "bin" / "python"), "-m", "cli.main"]
    workers = {
        "warm": [*facet, "worker"],
        "stock": [*facet, "worker", "--stock"],
    }
    with ExitStack() as stack:
        if profile == "postgresql":
            (home / "postgresql").mkdir()
            server = stack.enter_context(postgresql(home / "postgresql", databases=("facet", "prefect")))
            environment["FACET_DATABASE_URL"] = f"{server}/facet"
            environment["PREFECT_API_DATABASE_CONNECTION_URL"] = f"{server}/prefect".replace(
                "postgresql+psycopg2", "postgresql+asyncpg"
            )
        parts = stack.enter_context(Parts(home, environment, tree))
        parts.start("prefect", [*facet, "prefect-server"])
        wait_for(lambda: local_http.succeeds(f"{prefect_url}/health"), 120, "Prefect answers")
        parts.do([*facet, "db", "upgrade"])
        parts.do([*facet, "deploy"])
        parts.start("api", [*facet, "api"])
        parts.start("worker", workers[worker])
        wait_for(lambda: local_http.succeeds(f"http://127.0.0.1:{port}/readyz"), 60, "the API is ready")
        wait_for(lambda: _online(prefect_url), 120, "a worker is online")
        yield Service(f"http://127.0.0.1:{port}", parts, workers[worker], prefect_url)


def _online(prefect_url: str) -> bool:
    workers = httpx.post(f"{prefect_url}/work_pools/faces/workers/filter", json={}, timeout=10).json()
    return any(worker["status"] == "ONLINE" for worker in workers)


@dataclass
class CheckingReceiver:
    """Takes callbacks, checks every body, and notes when each came."""

    url: str = ""
    came: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def wait(self, request_ids: list[str], seconds: float) -> None:
        wait_for(lambda: all(i in self.came for i in request_ids), seconds, "all callbacks came")


@contextmanager
def receiving(check: Callable[[dict[str, Any]], bool]) -> Iterator[CheckingReceiver]:
    """A receiver on a free port; `check` says whether a body is the right one."""
    receiver = CheckingReceiver()

    def answer(body: dict[str, Any]) -> int:
        receiver.came.setdefault(body["request_id"], time.monotonic())
        if not check(body):
            receiver.wrong.append(body["request_id"])
        return 204

    with serving(answer) as receiver.url:
        yield receiver
