"""One embedded stack for all tests of a process that leave it as fit for use as they find it."""

from contextlib import ExitStack
from pathlib import Path

from tests.support.stack import Stack, new_stack, started

SECRET = "whsec_" + "aGhoaGhoaGhoaGhoaGhoaGhoaGhoaGho"
"""With which it signs callbacks."""


class SharedStack:
    """It starts when it is first asked for, and again after it was stopped."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._stack: Stack | None = None

    def get(self, folder: Path) -> Stack:
        """The running stack; `folder` is for one that starts now."""
        if self._stack is None:
            stack = new_stack(folder / "home", FACET_WEBHOOK_SECRETS=SECRET, FACET_WORKER_SLOTS="1")
            self._running.enter_context(started(stack))
            self._stack = stack
        return self._stack

    def stop(self) -> None:
        self._stack = None
        self._running.close()


SHARED = SharedStack()
