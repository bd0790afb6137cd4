"""One child process, as the worker sees it."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

START_SECONDS = 180.0
"""A child that is not ready after so long hangs: loading takes some ten seconds on a busy machine."""

END_SECONDS = 30.0
"""A child that has said goodbye, or was told to end, sends its last logs for so long at most."""


@dataclass(frozen=True)
class Launch:
    """How children are started: what they load beforehand, and their surroundings."""

    flows: tuple[str, ...] = ()
    services: bool = True
    env: Mapping[str, str | None] = field(default_factory=dict)
    working_dir: Path | None = None


class ChildProcess:
    """A running child. Told a flow run, it says when that is done; its death is noticed at once."""

    def __init__(
        self,
        launch: Launch,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.launch = launch
        self._process = process
        self._reader, self._writer = reader, writer
        self._hear: Callable[[dict[str, Any]], None] = lambda message: None
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.runs = 0
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, launch: Launch) -> "ChildProcess":
        """Start a child; it is `ready` some seconds later.

        It leads a process group of its own: a Ctrl-C in the terminal is for the worker alone, and what a flow run
        starts can be stopped with it.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "deployments.worker.child",
                str(theirs.fileno()),
                json.dumps({"flows": launch.flows, "services": launch.services}),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd=launch.working_dir,
                env={key: value for key, value in {**os.environ, **launch.env}.items() if value is not None},
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(launch, process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    @property
    def usable(self) -> bool:
        """Whether it can be told a run: it is alive, and not retired."""
        return self.ready.is_set() and not self.ended.is_set() and not self._writer.is_closing()

    def order(self, message: dict[str, Any], hear: Callable[[dict[str, Any]], None]) -> None:
        """Tell it a flow run; `hear` gets what it says."""
        self._hear = hear
        self.runs += 1
        self._writer.write(json.dumps(message).encode() + b"\n")

    def retire(self) -> None:
        """Let it end by itself, once it is idle."""
        self._writer.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to what it has started. Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        os.killpg(self.pid, number)

    async def stop(self, seconds: float) -> None:
        """SIGTERM, then SIGKILL for one that has not ended after `seconds`."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self.signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), seconds)
                return

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        try:
            return psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return 0

    async def _listen(self) -> None:
        with suppress(OSError, ValueError):
            while line := await self._reader.readline():
                message = json.loads(line)
                if message.get("ready"):
                    self.ready.set()
                else:
                    self._hear(message)
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            await self._process.wait()
        self.ended.set()


def meaning(returncode: int) -> str:
    """What the end of a process means, in words for whoever looks at its run."""
    if returncode >= 0:
        return f"exited with status {returncode}"
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else f"signal {-returncode}"
    reasons: dict[int, str] = {
        signal.SIGKILL: "perhaps because the machine or its container ran out of memory",
        signal.SIGSEGV: "a fault in native code",
        signal.SIGBUS: "a fault in native code, or a file that was cut short while mapped",
        signal.SIGABRT: "native code gave up",
        signal.SIGFPE: "a fault in native code",
        signal.SIGILL: "native code that this processor does not know",
        signal.SIGTERM: "somebody stopped it",
        signal.SIGXCPU: "it used up its CPU time",
    }
    return f"was killed by {name}" + (f": {reasons[-returncode]}" if -returncode in reasons else "")
