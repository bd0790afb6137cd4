"""The worker: takes flow runs from the work pool as Prefect's process worker does, and runs them in warm children."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
import psutil
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse, WorkerFlowRunResponse
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import InfrastructureNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, get_current_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult
from pydantic import PrivateAttr

from deployments.prefect.internals.runner import FlowRunExecutionResult, ProcessHandle
from deployments.worker.arrivals import tell_of_arrivals
from deployments.worker.attempts import STOP_SECONDS, Limits, WarmStarter
from deployments.worker.process import Launch
from deployments.worker.slots import Slots
from deployments.worker.supervision import Supervision
from facet.settings import Settings

CONTROL_QUEUE = "control"
"""Flow runs of this work queue have slots of their own; all others share the worker's slots."""

_CONTROL_SLOTS = 2  # a reprocessing takes one for hours; the short ones go by the other

_OUTAGE_PAUSE = 2.0
_SET_FOLDER = "prefect.deployments.steps.set_working_directory"


class WarmJobConfiguration(ProcessJobConfiguration):
    """Remembers what the job variables ask for, before Prefect adds what every process gets."""

    _asked: tuple[Any, ...] = PrivateAttr(())

    @property
    def asked(self) -> tuple[Any, ...]:
        return self._asked or (dict(self.env), self.command, self.working_dir, self.stream_output)

    def prepare_for_flow_run(self, *args: Any, **kwargs: Any) -> None:
        self._asked = self.asked
        super().prepare_for_flow_run(*args, **kwargs)


class WarmWorker(ProcessWorker):
    """Prefect's process worker with `slots` warm children, and two more for the flow runs of the control queue."""

    job_configuration = WarmJobConfiguration

    def __init__(self, work_pool_name: str, slots: int, settings: Settings, *, services: bool = True) -> None:
        super().__init__(work_pool_name=work_pool_name, limit=slots + _CONTROL_SLOTS)
        self._limits = Limits(runs=settings.child_runs, memory_bytes=settings.child_memory_mb << 20)
        self._services = services
        self._woken = asyncio.Event()
        self._polling = asyncio.Lock()
        self._supervision = Supervision()
        self._launch = Launch(working_dir=Path.cwd())
        self._default_of: tuple[dict[str, Any], tuple[Any, ...]] | None = None
        # A start is some seconds of work for one core: more at once would only make the first one later.
        starting = asyncio.Semaphore(os.cpu_count() or 1)
        self._detection = Slots("detection", slots, self._woken.set, starting, at_first=slots)
        self._control = Slots(CONTROL_QUEUE, _CONTROL_SLOTS, self._woken.set, starting, at_first=1)
        self._all_slots = (self._detection, self._control)
        self._admitted: dict[UUID, Slots] = {}
        self._begun: set[UUID] = set()
        self._in_fresh_processes: set[UUID] = set()
        self._draining = self._in_outage = False
        # The client's own retries take up to a minute, ever more slowly: the next poll comes sooner.
        self._impatient = get_current_settings().copy_with_update({PREFECT_CLIENT_MAX_RETRIES: 0})
        self._grace_seconds = settings.worker_grace_seconds
        self._wakeups: asyncio.Task[None] | None = None
        self._arrivals: asyncio.Task[None] | None = None
        self._heard_pool: UUID | None = None

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "warm-process"  # so that `prefect worker start --type process` goes on meaning Prefect's own

    async def __aenter__(self) -> "WarmWorker":
        await self._supervision.__aenter__()  # first in and last out: the runs of this worker end within it
        try:
            await super().__aenter__()
        except BaseException as error:
            await self._supervision.__aexit__(type(error), error, error.__traceback__)
            raise
        for slots in self._all_slots:
            slots.start(self._launch_of(slots))
        self._wakeups = asyncio.create_task(self._poll_when_woken())
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        if isinstance(exc_info[1], Exception):  # Prefect refuses this worker, which is no fault of the runs in hand
            await self.drain(self._grace_seconds, asyncio.Event())
        for listener in (self._wakeups, self._arrivals):
            if listener:
                listener.cancel()
        try:
            await super().__aexit__(*exc_info)
        finally:
            await asyncio.gather(*(slots.stop(STOP_SECONDS) for slots in self._all_slots))
            await self._supervision.__aexit__(*exc_info)

    async def drain(self, seconds: float, stop_now: asyncio.Event) -> None:
        """Take no more runs, let those in children end for so long (or until `stop_now`), then hand them back."""
        self._draining = True
        until = asyncio.get_running_loop().time() + seconds
        while self._admitted and not stop_now.is_set() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.1)
        for slots in self._all_slots:
            slots.close()
        ours = self._admitted.keys() - self._in_fresh_processes
        await asyncio.gather(*(self._supervision.hand_back(flow_run_id) for flow_run_id in ours))

    # ---- taking flow runs

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll, if a child is free to run what is found. An outage of the server is waited out, however long."""
        async with self._polling:
            if self._draining or not any(self._free(slots) for slots in self._all_slots):
                self._last_polled_time = datetime.now(UTC)
                return []
            try:
                found = await super().get_and_submit_flow_runs()
            except httpx.HTTPError as error:
                await self._wait_out(error)
                return []
            if self._in_outage:
                self._logger.info("The Prefect API answers again.")
                self._in_outage = False
                await self._supervision.listen_again()
            return found

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        # With all other slots taken, a long queue of theirs must not hide what the control slot could run.
        self._work_queues = set() if self._free(self._detection) else {CONTROL_QUEUE}
        with SettingsContext(profile=get_settings_context().profile, settings=self._impatient):
            return await super()._get_scheduled_flow_runs()

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
        admitted = []
        for entry in flow_run_response:
            flow_run = entry.flow_run
            slots = self._control if flow_run.work_queue_name == CONTROL_QUEUE else self._detection
            if flow_run.id not in self._admitted and self._free(slots):
                self._admitted[flow_run.id] = slots
                admitted.append(entry)
        return await super()._submit_scheduled_flow_runs(admitted)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """As Prefect does; but a server that does not answer just now is no reason for the whole worker to end."""
        try:
            await super()._submit_run(flow_run)
        except Exception:
            self._logger.exception("Flow run '%s' could not be submitted.", flow_run.id)
        self._submitting_flow_run_ids.discard(flow_run.id)
        if flow_run.id not in self._begun:
            self._release_limit_slot(flow_run.id)

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        super()._release_limit_slot(flow_run_id)
        self._admitted.pop(flow_run_id, None)
        self._woken.set()

    def _free(self, slots: Slots) -> int:
        taken = sum(other is slots for other in self._admitted.values())
        return min(slots.count - taken, slots.idle)

    async def _poll_when_woken(self) -> None:
        """Look at once when a run has arrived, or a child is free again. The poll is the safety net."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            if self.is_setup and not self._in_outage:
                with suppress(httpx.HTTPError):  # the poll meets it too, and ends the worker if it has to
                    await self.get_and_submit_flow_runs()

    async def _wait_out(self, error: httpx.HTTPError) -> None:
        """A server that is away comes back, and a work pool that was deleted is made anew; no other 4xx mends itself.

        A worker that is not let in ends: its next start reads the password that it is given by then.
        """
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
        if 400 <= status < 500 and status != 404:
            raise error
        if not self._in_outage:
            self._logger.warning("The Prefect API does not answer, and is asked again: %r", error)
        self._in_outage = True
        await asyncio.sleep(_OUTAGE_PAUSE)

    # ---- what the server says, every heartbeat

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
            await self._hear_of_pool()
            await self._refresh_launch()
            await self._supervision.listen_again()
        except httpx.HTTPError as error:
            if not self.is_setup:
                raise
            await self._wait_out(error)

    async def _worker_metadata(self) -> None:
        """None: Prefect would load all its integrations to tell their versions, which takes as long as this worker."""

    async def _hear_of_pool(self) -> None:
        """Listen to the events of the work pool; one that was deleted and made anew has another id."""
        if self._work_pool is None or self._work_pool.id == self._heard_pool:
            return
        if self._arrivals:
            self._arrivals.cancel()
            self._cancelling_observer = None
            await self._setup_cancellation_observer()
        self._heard_pool = self._work_pool.id
        self._arrivals = asyncio.create_task(tell_of_arrivals(self._heard_pool, self._woken.set))

    async def _refresh_launch(self) -> None:
        """Start children with the flows of this pool's deployments loaded, in the pool's default surroundings.

        While the pool has no deployments they stay as they are: so it looks when a pool has been deleted. A flow stays
        loaded when its deployment goes, or loses its work queue: that is made anew, and should not wait for children.
        """
        if self._work_pool is None:
            return
        deployments = await self.client.read_deployments(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[self._work_pool_name]))
        )
        if not deployments:
            return
        env, _, folder, _ = await self._default()
        launch = Launch(
            flows=tuple(sorted({*self._launch.flows, *filter(None, map(_preloadable, deployments))})),
            env=env,
            working_dir=folder or self._launch.working_dir,
        )
        if launch != self._launch:
            self._launch = launch
            for slots in self._all_slots:
                slots.relaunch(self._launch_of(slots))

    async def _default(self) -> tuple[Any, ...]:
        """What a run asks for whose deployment has no job variables."""
        template = self.work_pool.base_job_template
        if self._default_of is None or self._default_of[0] != template:
            default: Any = await WarmJobConfiguration.from_template_and_values(template, {}, client=self.client)
            self._default_of = template, default.asked
        return self._default_of[1]

    def _launch_of(self, slots: Slots) -> Launch:
        return replace(self._launch, services=self._services and slots is self._detection)

    # ---- running them

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """In a warm child; or in a process of its own, as Prefect does it, if its job variables ask for one."""
        assert isinstance(configuration, WarmJobConfiguration)
        self._begun.add(flow_run.id)
        try:
            _, command, _, stream_output = asked = configuration.asked
            if asked != await self._default() or command or not stream_output:
                self._in_fresh_processes.add(flow_run.id)
                return await super().run(flow_run, configuration, task_status)
            return await self._run_warm(flow_run, configuration, task_status or anyio.TASK_STATUS_IGNORED)
        finally:
            self._begun.discard(flow_run.id)
            self._in_fresh_processes.discard(flow_run.id)

    async def _run_warm(
        self, flow_run: FlowRun, configuration: WarmJobConfiguration, task_status: anyio.abc.TaskStatus[int]
    ) -> ProcessWorkerResult:
        deployment = configuration._related_objects.get("deployment")
        order = {
            "flow_run_id": str(flow_run.id),
            "entrypoint": _preloadable(deployment) if deployment else None,
            "env": {key: value for key, value in configuration.env.items() if key.startswith("PREFECT__")}
            | {"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"},
        }
        slots = self._admitted.get(flow_run.id, self._detection)
        starter = WarmStarter(slots, order, self._limits, self._supervision.control_channel)
        execution: FlowRunExecutionResult | None = None

        async with self._supervision.executor(flow_run, starter) as executor, anyio.create_task_group() as tasks:

            async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle]) -> None:
                nonlocal execution
                execution = await executor.submit(task_status=task_status)

            handle = await tasks.start(execute)
            task_status.started(handle.pid)
        if execution is None or execution.status_code is None:
            raise RuntimeError("The flow run could not be started in a child.")
        return ProcessWorkerResult(status_code=execution.status_code, identifier=str(execution.handle.pid))

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: ProcessJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """Stop the process of a run that is cancelled before it has started."""
        flow_run = configuration._related_objects.get("flow-run")
        attempt = self._supervision.attempt(flow_run.id) if flow_run else None
        try:
            if attempt:
                return await attempt.stop()
            process = psutil.Process(int(infrastructure_pid))
            if process.ppid() != os.getpid() or any(process.pid in slots.pids for slots in self._all_slots):
                raise InfrastructureNotFound(f"Process {infrastructure_pid} runs no such flow run here.")
            process.terminate()
        except (ProcessLookupError, psutil.NoSuchProcess, ValueError) as error:
            raise InfrastructureNotFound(f"Process {infrastructure_pid} has ended.") from error
        with suppress(psutil.NoSuchProcess):
            for _ in range(grace_seconds * 10):
                if process.status() == psutil.STATUS_ZOMBIE:  # its status is for asyncio to collect, not for psutil
                    return
                await asyncio.sleep(0.1)
            process.kill()


def _preloadable(deployment: DeploymentResponse) -> str | None:
    """The deployment's entrypoint, if it is a module that can be imported as it is.

    A file, or a module that other steps first bring here, is left to Prefect's own loader at each run.
    """
    entrypoint = deployment.entrypoint
    steps: Sequence[dict[str, Any]] = deployment.pull_steps or []
    if not entrypoint or ":" in entrypoint or any(_SET_FOLDER not in step for step in steps):
        return None
    return entrypoint
