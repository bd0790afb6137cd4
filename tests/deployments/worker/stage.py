"""A real Prefect server, real workers, and what the tests ask of them."""

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from deployments.worker.worker import CONTROL_QUEUE
from tests.deployments.worker import sample_flows
from tests.support import local_http
from tests.support.prefect_database import migrate_prefect
from tests.support.processes import PATIENCE, bare_environment

_ROOT = Path(__file__).parents[3]
_TEMPLATE = json.loads((_ROOT / "deployments" / "prefect" / "process-pool.json").read_text())

T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float = 60) -> T:
    """Poll until `what` is true, and return it."""
    until = time.monotonic() + PATIENCE * seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


class Server:
    """A Prefect server with a database of its own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = home / "server.log"
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.env = bare_environment() | {
            "PREFECT_HOME": str(home),
            "FACET_PREFECT_PORT": str(self.port),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "0.5",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",
            "DO_NOT_TRACK": "1",
            "FACET_HOME": str(home / "facet"),
            "PYTHONPATH": str(_ROOT),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        migrate_prefect(Path(self.env["PREFECT_HOME"]))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "prefect-server"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: local_http.succeeds(f"{self.url}/health"), 90)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, number)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


class Worker:
    """A running worker, warm or stock, with its output."""

    def __init__(self, server: Server, pool: str, log: Path, command: list[str], env: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=server.env | env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def children(self) -> set[int]:
        with suppress(psutil.NoSuchProcess):
            return {child.pid for child in psutil.Process(self.process.pid).children() if alive(child.pid)}
        return set()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Stage:
    """A work pool with a deployment of each sample flow, and workers for it."""

    def __init__(self, server: Server, folder: Path, pool: str | None = None) -> None:
        self.server, self.folder = server, folder
        self.pool = pool or f"pool-{uuid4().hex[:8]}"
        self.client = SyncPrefectClient(api=server.url)
        self.make_pool()

    def make_pool(self) -> None:
        """Make the work pool, or make it anew: what was deployed is to be deployed again then."""
        pool = WorkPoolCreate(name=self.pool, type="process", base_job_template=_TEMPLATE)
        self.client.create_work_pool(pool, overwrite=True)
        self._deployments: dict[tuple[Any, ...], UUID] = {}

    def deploy(self, flow: Flow[..., Any], queue: str | None = None, **changes: Any) -> UUID:
        entrypoint = f"{sample_flows.__name__}.{flow.fn.__name__}"
        options: dict[str, Any] = {"entrypoint": entrypoint, "work_queue_name": queue} | changes
        key = (flow.name, json.dumps(options, sort_keys=True))
        if key not in self._deployments:
            self._deployments[key] = self.client.create_deployment(
                flow_id=self.client.create_flow_from_name(flow.name),
                name=f"{self.pool}-{len(self._deployments)}",
                work_pool_name=self.pool,
                **options,
            )
        return self._deployments[key]

    def run(
        self,
        flow: Flow[..., Any],
        parameters: dict[str, Any] | None = None,
        *,
        queue: str | None = None,
        job_variables: dict[str, Any] | None = None,
        **changes: Any,
    ) -> UUID:
        return self.client.create_flow_run_from_deployment(
            self.deploy(flow, queue, **changes), parameters=parameters or {}, job_variables=job_variables
        ).id

    def flow_run(self, flow_run_id: UUID) -> FlowRun:
        return self.client.read_flow_run(flow_run_id)

    def state(self, flow_run_id: UUID) -> State[Any]:
        state = self.flow_run(flow_run_id).state
        assert state
        return state

    def end(self, flow_run_id: UUID, seconds: float = 60) -> State[Any]:
        """The final state of a run, once it has one."""
        until = time.monotonic() + PATIENCE * seconds
        while not (state := self.state(flow_run_id)).is_final():
            assert time.monotonic() < until, f"flow run is still {state.name}: {state.message}"
            time.sleep(0.1)
        return state

    def complete(self, flow: Flow[..., Any], parameters: dict[str, Any] | None = None, **options: Any) -> None:
        state = self.end(self.run(flow, parameters, **options))
        assert state.is_completed(), state.message

    def note(self) -> Path:
        return self.folder / f"note-{uuid4().hex[:8]}"

    def where(self, **options: Any) -> list[str]:
        """What a run of `where` wrote down: its process, folder, variable and flow run."""
        note = self.note()
        self.complete(sample_flows.where, {"out": str(note)}, **options)
        return note.read_text().splitlines()

    def await_heartbeats(self, count: int) -> None:
        """Until the pool's only worker has sent so many more."""
        beats = set()

        def have_come() -> bool:
            [worker] = self.client.read_workers_for_work_pool(self.pool)
            beats.add(worker.last_heartbeat_time)
            return len(beats) > count

        wait_for(have_come)

    def logs(self, flow_run_id: UUID) -> list[str]:
        found = self.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])))
        return [entry.message for entry in found]

    @contextmanager
    def warm_worker(self, slots: int = 1, **env: str) -> Iterator[Worker]:
        """A warm worker, which starts by and by."""
        log = self.folder / f"worker-{uuid4().hex[:8]}.log"
        command = ["tests.deployments.worker.run_worker", self.pool, str(slots)]
        worker = Worker(self.server, self.pool, log, command, env)
        try:
            yield worker
        finally:
            worker.stop()
            for pid in worker.children():
                psutil.Process(pid).kill()

    @contextmanager
    def stock_worker(self) -> Iterator[Worker]:
        log = self.folder / f"worker-{uuid4().hex[:8]}.log"
        command = ["prefect", "worker", "start", "--pool", self.pool, "--type", "process", "--limit", "1"]
        worker = Worker(self.server, self.pool, log, command, {})
        try:
            yield worker
        finally:
            worker.stop()


def deploy_all(stage: Stage) -> None:
    """Deploy each sample flow beforehand, so that a worker of this stage preloads it."""
    for _, flow in inspect.getmembers(sample_flows, lambda member: isinstance(member, Flow)):
        stage.deploy(flow)
    stage.deploy(sample_flows.where, CONTROL_QUEUE)
