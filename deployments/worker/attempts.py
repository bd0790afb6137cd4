"""Flow runs in children: handed over, watched while they run, and stopped."""

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import anyio
import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_logger

from deployments.prefect.internals.runner import ControlChannel, ProcessHandle
from deployments.worker.process import ChildProcess, meaning
from deployments.worker.slots import Slots

log = get_logger("warm_worker.attempts")

STOP_SECONDS = 5.0
"""A flow run that is stopped has so long between SIGTERM and SIGKILL."""
_MEMORY_LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Limits:
    """When a child has had its day: after so many runs, or with so much memory."""

    runs: int
    memory_bytes: int

    def spent(self, child: ChildProcess, resident: int) -> bool:
        """Half the memory that would end a run is too much for a child that rests: the next run needs its part."""
        return child.runs >= self.runs or resident > self.memory_bytes / 2


class Attempt:
    """One flow run in one child. Prefect takes it for the run's process, though the child lives on."""

    def __init__(self, child: ChildProcess, limits: Limits) -> None:
        self._child = child
        self._limits = limits
        self._done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._stopped = False
        self.pid = child.pid
        self.returncode: int | None = None
        self.has_hooks = False
        self.crash_message: str | None = None

    async def run(self, order: dict[str, Any]) -> bool:
        """Run it to its end. Returns whether the child is fit for another run."""
        self._child.order(order, self._hear)
        death = asyncio.create_task(self._child.ended.wait())
        memory = asyncio.create_task(self._watch_memory())
        try:
            ends: set[asyncio.Future[Any]] = {self._done, death}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            death.cancel()
            memory.cancel()
            if not self._done.done() and not self._child.ended.is_set():  # the worker itself is being ended
                self.returncode = 0
                self._signal(signal.SIGTERM)
        if not self._done.done():
            self._record_crash()
            return False
        self.returncode = 0
        told = self._done.result()
        return not told["spent"] and not self._limits.spent(self._child, told["rss"])

    async def stop(self, *, force: bool = False) -> None:
        """End it by ending the child; whoever asks for that sees to the flow run's state.

        Raises ProcessLookupError if the run is over: the child is nobody's to stop then.
        """
        if self.returncode is not None or self._done.done():
            raise ProcessLookupError(self.pid)
        self._stopped = True
        if force:
            self._signal(signal.SIGKILL)
        await self._child.stop(STOP_SECONDS)

    def handle(self) -> ProcessHandle:
        """How Prefect refers to it."""
        return ProcessHandle(cast(anyio.abc.Process, self), termination_scope=_Termination(self))

    def is_alive(self) -> bool:
        return self.returncode is None and not self._child.ended.is_set()

    def send(self, number: signal.Signals) -> None:
        """Raises ProcessLookupError if the run is over."""
        if not self.is_alive():
            raise ProcessLookupError(self.pid)
        self._child.signal(number)

    def _hear(self, message: dict[str, Any]) -> None:
        self.has_hooks = message.get("hooks", self.has_hooks)
        if "done" in message and not self._done.done():
            self._done.set_result(message)

    def _record_crash(self) -> None:
        code = self._child.returncode or 0
        self.crash_message = self.crash_message or f"The flow run's process {meaning(code)}."
        # Without a word, status 0 is no success; only Prefect's receipt for a reported state would make it one.
        self.returncode = 0 if self._stopped else code or 1
        if not self._stopped:
            log.warning("Child %s ended in the midst of a flow run. %s", self.pid, self.crash_message)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._child.signal(number)

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(_MEMORY_LOOK_SECONDS)
            resident = self._child.resident()
            if resident > self._limits.memory_bytes:
                self.crash_message = (
                    f"The flow run's process held {resident >> 20} MB, more than FACET_CHILD_MEMORY_MB "
                    f"({self._limits.memory_bytes >> 20}) allows, and was killed by SIGKILL."
                )
                self._signal(signal.SIGKILL)
                return


class _Termination:
    """Prefect's way of stopping a process, for a run in a child."""

    wait_after_graceful_kill = True

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def is_alive(self, pid: int) -> bool:
        return self._attempt.is_alive()

    def graceful_kill(self, pid: int) -> None:
        self._attempt.send(signal.SIGTERM)

    def hard_kill(self, pid: int) -> None:
        self._attempt.send(signal.SIGKILL)

    def close(self) -> None:
        """There is nothing to close: the child lives on."""


class WarmStarter:
    """Starts a flow run by handing it to an idle child of some slots: Prefect's `ProcessStarter`."""

    def __init__(self, slots: Slots, order: dict[str, Any], limits: Limits, control_channel: ControlChannel) -> None:
        self._slots = slots
        self._order = order
        self._limits = limits
        self._control_channel = control_channel
        self.attempt: Attempt | None = None

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Returns when the run is over."""
        child = await self._slots.take()
        self.attempt = Attempt(child, self._limits)
        with suppress(RuntimeError):  # the channel could not be opened: runs are stopped by signals alone then
            port, token = self._control_channel.register(flow_run.id)
            self._order["env"] |= {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        task_status.started(self.attempt.handle())
        if await self.attempt.run(self._order):
            self._slots.give_back(child)
        else:
            child.retire()
