"""Flows that do what a worker must cope with."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from prefect import flow, task
from prefect.runtime import flow_run

_MEGABYTE = 1 << 20


@flow
def where(out: str) -> None:
    """Write down the process, its folder and a variable."""
    Path(out).write_text(f"{os.getpid()}\n{Path.cwd()}\n{os.environ.get('SAMPLE', '')}\n{flow_run.get_id()}\n")


@flow
def litter() -> None:
    os.environ["SAMPLE"] = "left behind"
    os.chdir("/")


@flow(log_prints=True)
def talk(word: str) -> None:
    print(f"printed {word}")
    sys.stderr.write(f"complained {word}\n")


@flow
def snooze(seconds: float, out: str | None = None) -> None:
    """Sleep in small pieces; note the process, and how often this flow run has been begun."""
    if out:
        with Path(out).open("a") as file:
            file.write(f"{os.getpid()}\n")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)


@flow
def finish(seconds: float, out: str) -> None:
    """Note the beginning and the end."""
    Path(out).write_text("begun")
    time.sleep(seconds)
    Path(out).write_text("finished")


@flow
def stubborn(out: str) -> None:
    """Hold the interpreter in native code, deaf to SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    Path(out).write_text(f"{os.getpid()}\n")
    ctypes.PyDLL(None).sleep(120)


@flow(timeout_seconds=1)
def overtime(out: str) -> None:
    Path(out).write_text(f"{os.getpid()}\n")
    while True:
        time.sleep(0.05)


@flow
def fail() -> None:
    raise ValueError("as intended")


@flow(retries=1, retry_delay_seconds=0)
def second_time_lucky(out: str) -> None:
    with Path(out).open("a") as file:
        file.write("x")
    if len(Path(out).read_text()) < 2:
        raise ValueError("not yet")


@flow
def die(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


@flow
def vanish() -> None:
    """End the process without a word, as if all were well."""
    os._exit(0)


@flow
def segfault() -> None:
    ctypes.string_at(0)


@flow
def hog(megabytes: int, seconds: float) -> None:
    hoard = [bytearray(b"\1") * _MEGABYTE for _ in range(megabytes)]
    time.sleep(seconds)
    assert hoard


@flow
def keep(megabytes: int) -> None:
    """Leave memory behind, as a leak does."""
    sys.modules[__name__].__dict__.setdefault("kept", []).append(bytearray(b"\1") * (_MEGABYTE * megabytes))


@task
def nothing(number: int) -> int:
    return number


@flow
def six() -> int:
    return sum(nothing(number) for number in range(6))


def _note_cancellation(flow: object, flow_run: object, state: object) -> None:
    Path(os.environ["HOOK_NOTE"]).write_text("cancelled")


@flow(on_cancellation=[_note_cancellation])
def hooked(out: str) -> None:
    Path(out).write_text(f"{os.getpid()}\n")
    time.sleep(120)


@flow
def with_child_process(out: str) -> None:
    """Start a process of its own and wait for it."""
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    Path(out).write_text(f"{os.getpid()}\n{process.pid}\n")
    process.wait()
