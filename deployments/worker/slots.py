"""The worker's slots: a child in each, replaced as soon as it ends."""

import asyncio
from collections import deque
from collections.abc import Callable

from prefect.logging import get_logger

from deployments.worker.process import START_SECONDS, ChildProcess, Launch, meaning

log = get_logger("warm_worker.slots")

_LONGEST_PAUSE = 30.0


class Slots:
    """A number of slots for one kind of flow runs, so that no other kind can take them."""

    def __init__(
        self, name: str, count: int, on_idle: Callable[[], None], starting: asyncio.Semaphore, *, at_first: int
    ) -> None:
        """`on_idle` is told of each child that can be taken; `starting` is how many may start at once.

        So many as `at_first` have their child from the beginning; the others once no child is idle.
        """
        self.name, self.count = name, count
        self._starting = starting
        self._at_first = at_first
        self._none_idle = asyncio.Event()
        self._launch = Launch()
        self._closed = False
        self._on_idle = on_idle
        self._idle: deque[ChildProcess] = deque()
        self._children: set[ChildProcess] = set()
        self._arrival = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> int:
        return sum(child.usable for child in self._idle)

    @property
    def pids(self) -> set[int]:
        return {child.pid for child in self._children}

    def start(self, launch: Launch) -> None:
        self._launch = launch
        self._keepers = [asyncio.create_task(self._keep(at_once=n < self._at_first)) for n in range(self.count)]

    def relaunch(self, launch: Launch) -> None:
        """From now on start children so; the idle ones are replaced, the busy ones when they are done."""
        self._launch = launch
        while self._idle:
            self._idle.popleft().retire()

    def close(self) -> None:
        """Let no more children be taken; who waits for one waits in vain."""
        self._closed = True

    async def take(self) -> ChildProcess:
        """An idle child; waits for one that is starting."""
        while True:
            while self._idle and not self._closed:
                child = self._idle.popleft()
                if child.usable:
                    if not self.idle:  # what is left may be dead
                        self._none_idle.set()
                    return child
            self._arrival.clear()
            await self._arrival.wait()

    def give_back(self, child: ChildProcess) -> None:
        """The child can do a run, unless these slots start their children differently by now."""
        if child.launch is not self._launch:
            child.retire()
        elif child.usable:
            self._idle.append(child)
            self._none_idle.clear()
            self._arrival.set()
            self._on_idle()

    async def stop(self, seconds: float) -> None:
        """End all children; those that are busy have been seen to before."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        children = list(self._children)
        while self._idle:
            self._idle.popleft().retire()
        await asyncio.gather(*(self._see_off(child, seconds) for child in children))

    async def _see_off(self, child: ChildProcess, seconds: float) -> None:
        try:
            await asyncio.wait_for(child.ended.wait(), seconds if child.ready.is_set() else 0)
        except TimeoutError:
            await child.stop(seconds)

    async def _keep(self, *, at_once: bool) -> None:
        """Keep one slot filled. Children that cannot start are tried again ever more slowly."""
        failures = 0
        while True:
            if not at_once:
                await self._none_idle.wait()
            async with self._starting:
                child = await ChildProcess.start(self._launch)
                self._children.add(child)
                is_ready = await self._await_ready(child)
            try:
                failures = 0 if is_ready else failures + 1
                if child.ready.is_set():
                    self.give_back(child)
                await child.ended.wait()
            finally:
                if child.ended.is_set():
                    self._children.discard(child)
            if not at_once and not self.idle:
                self._none_idle.set()
            if failures:
                pause = min(2.0 ** (failures - 1), _LONGEST_PAUSE)
                log.error(
                    "A child %s before it was ready; the next starts in %g s.", meaning(child.returncode or 0), pause
                )
                await asyncio.sleep(pause)
            else:
                log.debug("Child %s has ended; a new one starts.", child.pid)

    @staticmethod
    async def _await_ready(child: ChildProcess) -> bool:
        waits = {asyncio.create_task(child.ready.wait()), asyncio.create_task(child.ended.wait())}
        done, pending = await asyncio.wait(waits, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if not done:
            await child.stop(1)
        return child.ready.is_set() and not child.ended.is_set()
