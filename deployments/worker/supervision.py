"""Prefect's own care for running flow runs: cancellation, crash reports, hooks, and handing back."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Abort, ObjectNotFound
from prefect.flows import load_flow_from_flow_run
from prefect.logging import get_logger
from prefect.states import AwaitingRetry
from prefect.utilities.engine import propose_state

from deployments.prefect.internals.runner import (
    CancellationManager,
    ControlSignalStatus,
    FlowRunCancellingObserver,
    FlowRunExecutor,
    FlowRunExecutorContext,
    HookRunner,
    ProcessHandle,
    ProcessManager,
    StateProposer,
)
from deployments.worker.attempts import Attempt, WarmStarter

log = get_logger("warm_worker.supervision")

_LOOK_SECONDS = 10.0


class Supervision(FlowRunExecutorContext):
    """Prefect's executor context, one for all flow runs of the worker.

    A stock worker opens one for each run, with two websockets and two clients. One that lasts has to outlive a restart
    of the server, and no run's trouble may be another's.
    """

    def __init__(self) -> None:
        self._starters: dict[UUID, WarmStarter] = {}
        self._hooked: deque[UUID] = deque(maxlen=1000)
        self._later_observer: FlowRunCancellingObserver | None = None
        self._is_deaf = False

    async def __aenter__(self) -> "Supervision":
        await super().__aenter__()
        self._cancellation_manager = _Cancellations(
            process_manager=_PromptKills(self),
            hook_runner=_Hooks(self),
            state_proposer=self._state_proposer,
            event_emitter=self._event_emitter,
            client=self.client,
            control_channel=self.control_channel,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._later_observer:
            await self._later_observer.__aexit__(exc_type, exc_value, traceback)
        return await super().__aexit__(exc_type, exc_value, traceback)

    @asynccontextmanager
    async def executor(self, flow_run: FlowRun, starter: WarmStarter) -> AsyncIterator[FlowRunExecutor]:
        """Prefect's executor for a run that `starter` starts; the run is looked after as long as the block lasts."""
        self._starters[flow_run.id] = starter
        look = asyncio.create_task(self._look_after(flow_run.id))
        try:
            yield FlowRunExecutor(
                flow_run=flow_run,
                starter=starter,
                process_manager=self.process_manager,
                state_proposer=_CrashReports(self, starter),
                hook_runner=_Hooks(self),
                propose_submitting=False,
                get_attempt_conclusion=self.control_channel.get_conclusion,
            )
        finally:
            look.cancel()
            attempt = starter.attempt
            if attempt and attempt.has_hooks:
                self._hooked.append(flow_run.id)
            del self._starters[flow_run.id]

    def attempt(self, flow_run_id: UUID) -> Attempt | None:
        """The run's attempt, if it is in a child now."""
        starter = self._starters.get(flow_run_id)
        return starter.attempt if starter else None

    def has_hooks(self, flow_run_id: UUID) -> bool:
        attempt = self.attempt(flow_run_id)
        return attempt.has_hooks if attempt else flow_run_id in self._hooked

    async def hand_back(self, flow_run_id: UUID) -> None:
        """Stop a run and put it back to be picked up again, by this worker's successor or by another."""
        acknowledged = await self.control_channel.signal(flow_run_id, "reschedule")
        if acknowledged is ControlSignalStatus.ALREADY_CONCLUDED:
            return
        if attempt := self.attempt(flow_run_id):
            # An engine that has not acknowledged would report its end as a crash, so it gets no chance to.
            with suppress(ProcessLookupError):
                await attempt.stop(force=acknowledged is not ControlSignalStatus.ACKNOWLEDGED)
        try:
            state = (await self.client.read_flow_run(flow_run_id)).state
            if state and not state.is_final() and not state.is_cancelling():
                retry: State = AwaitingRetry(message="Handed back by a worker that was shut down.")
                await propose_state(self.client, retry, flow_run_id=flow_run_id)
                log.info("Flow run %s is handed back.", flow_run_id)
        except (Abort, ObjectNotFound) as error:
            log.info("Flow run %s is not handed back: %s", flow_run_id, error)
        except Exception:
            log.exception("Flow run %s could not be handed back", flow_run_id)

    async def listen_again(self) -> None:
        """Put a new observer of cancellations in the place of one that has given up.

        Prefect's own comes back from a restart of the server by itself, and gives up when the server does not answer
        it three times running.
        """
        if not self._is_deaf:
            return
        deaf, self._is_deaf = self._observer, False
        fresh = FlowRunCancellingObserver(on_cancelling=deaf.on_cancelling, on_failure=deaf.on_failure)
        await fresh.__aenter__()  # type: ignore[no-untyped-call]
        for flow_run_id in self.process_manager.flow_run_ids():
            fresh.add_in_flight_flow_run_id(flow_run_id)
        self._observer = self._later_observer = fresh
        await deaf.__aexit__(None, None, None)

    def _handle_cancellation_observer_failure(self, flow_run_ids: set[UUID]) -> None:
        super()._handle_cancellation_observer_failure(flow_run_ids)
        self._is_deaf = True

    async def _look_after(self, flow_run_id: UUID) -> None:
        """Ask now and then whether the run is still wanted.

        Its cancellation may have been missed, and someone else may have ended it, such as the dispatcher one that
        hangs: then its slot is wanted back.
        """
        unwanted = 0
        while unwanted < 2:
            await asyncio.sleep(1 if unwanted else _LOOK_SECONDS)
            try:
                state = (await self.client.read_flow_run(flow_run_id)).state
            except ObjectNotFound:
                state = None
            except Exception as error:
                log.debug("Flow run %s cannot be read: %r", flow_run_id, error)
                continue
            if state and state.is_cancelling():
                self._observer.on_cancelling(flow_run_id)
            elif (state is None or state.is_final()) and not self.control_channel.get_conclusion(flow_run_id):
                unwanted += 1
            else:
                unwanted = 0
        if attempt := self.attempt(flow_run_id):
            log.warning("Flow run %s was ended by someone else; its process is stopped.", flow_run_id)
            with suppress(ProcessLookupError):
                await attempt.stop(force=True)  # its engine would put a crash over the state that it was given


class _Cancellations(CancellationManager):
    async def cancel_by_id(self, flow_run_id: UUID) -> None:
        """Never raises: that would end the task group that cancellations of all runs share."""
        try:
            await super().cancel_by_id(flow_run_id)
        except Exception:
            self._logger.exception("The cancellation of flow run '%s' failed; it is tried again.", flow_run_id)


class _PromptKills(ProcessManager):
    """The executor context's processes. Prefect looks every three seconds whether one has ended; here that is known."""

    def __init__(self, supervision: Supervision) -> None:
        super().__init__()
        self._supervision = supervision

    def get(self, flow_run_id: UUID) -> ProcessHandle | None:
        return self._supervision.process_manager.get(flow_run_id)

    async def kill(self, flow_run_id: UUID, grace_seconds: float = 30, *, force: bool = False) -> None:
        if attempt := self._supervision.attempt(flow_run_id):
            await attempt.stop(force=force)


class _Hooks:
    """A flow's hooks for cancellation and crash. Where it has none, its code is not loaded into the worker."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._hooks = HookRunner(resolve_flow=load_flow_from_flow_run)

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        if self._supervision.has_hooks(flow_run.id):
            await self._hooks.run_cancellation_hooks(flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        if self._supervision.has_hooks(flow_run.id):
            await self._hooks.run_crashed_hooks(flow_run, state)


class _CrashReports(StateProposer):
    """Reports a crash with the meaning of the process's end, rather than with its number."""

    def __init__(self, supervision: Supervision, starter: WarmStarter) -> None:
        super().__init__(client=supervision.client)
        self._starter = starter

    async def propose_crashed(self, flow_run: FlowRun, message: str) -> State | None:
        attempt = self._starter.attempt
        return await super().propose_crashed(flow_run, (attempt and attempt.crash_message) or message)
