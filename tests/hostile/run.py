"""Every hostile file through a real API and a real worker: `python -m tests.hostile.run` prints what became of each."""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import psutil
from rich.console import Console
from rich.table import Table

from tests.hostile.cases import Case, Outcome, listed
from tests.hostile.faults import written
from tests.hostile.kinds import kinds
from tests.hostile.pictures import generated
from tests.support import local_http
from tests.support.stack import ROOT, Stack, new_stack, started

SIDE = {"FACET_MAX_IMAGE_SIDE": "65535"}
"""As wide as a JPEG can be: the list has one that is wider than the service takes by default."""
MAX_SECONDS = 30
MAX_CHILD_MB = 600
MAX_CHILD_MB_OF_50_MP = 1_700
"""Where the files beside the checkout are there: one of them is a photo of 8192 × 6144."""
_AT_ONCE = 8


class ChildMemory:
    """The most memory that any child of the worker held at any moment, as its kernel counts it."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._over = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self.megabytes = 0

    def __enter__(self) -> "ChildMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._over.is_set()
            for child in self._stack.processes("worker.child"):
                self.megabytes = max(self.megabytes, _peak(child))
            if last:
                return
            self._over.wait(1)


def _peak(process: psutil.Process) -> int:
    """`VmHWM`, which misses nothing between two looks."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0


def send_all(stack: Stack, cases: Sequence[Case]) -> list[Outcome]:
    """Submit each, then wait for those that are taken.

    A file's time is that of its submission's answer and of its flow run up to its end, without the wait in the queue.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda case: _send(stack, case), cases))


def _send(stack: Stack, case: Case) -> Outcome:
    begun = time.monotonic()
    files = {"image": (case.name, case.data)}
    answer = local_http.post(f"{stack.url}/v1/images", files=files, data={"request_id": "hostile"}, timeout=60)
    body = answer.json()
    seconds = time.monotonic() - begun
    image = None
    if answer.status_code == 202:
        image = stack.finished(body["id"], 240)
        timings = image["timings"]
        seconds += timings.get("total", 0) - timings.get("waited", 0)
    return Outcome(case, answer.status_code, body.get("code"), image, seconds, body.get("detail"))


def every_case(photo: bytes) -> list[Case]:
    """Those of the folders beside the checkout, where they are, and those that the project makes itself."""
    return [*listed(), *written(), *generated(photo), *kinds(photo)]


def summary(outcomes: Sequence[Outcome], child_mb: int) -> dict[str, float]:
    return {
        "files": len(outcomes),
        "wrong_class": sum(outcome.wrong is not None for outcome in outcomes),
        "misplaced": sum(outcome.misplaced is not None for outcome in outcomes),
        "server_errors": sum(outcome.status >= 500 for outcome in outcomes),
        "false_alarms": sum(len(outcome.false_alarms) for outcome in outcomes),
        "max_seconds": round(max(outcome.seconds for outcome in outcomes), 1),
        "max_child_mb": child_mb,
    }


def print_table(outcomes: Sequence[Outcome]) -> None:
    table = Table("category", "files", "taken", "refused", "wrong", "slowest (s)")
    for category in sorted({outcome.case.category for outcome in outcomes}):
        of = [outcome for outcome in outcomes if outcome.case.category == category]
        counts = Counter(outcome.status == 202 for outcome in of)
        wrong = sum(outcome.wrong is not None for outcome in of)
        slowest = max(outcome.seconds for outcome in of)
        table.add_row(category, str(len(of)), str(counts[True]), str(counts[False]), str(wrong), f"{slowest:.1f}")
    console = Console(width=110)
    console.print(table)
    for outcome in outcomes:
        if outcome.wrong:
            console.print(f"[red]wrong[/red] {outcome.case.name} ({outcome.case.expect}): {outcome.wrong}")
        if outcome.misplaced:
            console.print(f"[red]misplaced[/red] {outcome.case.name}: {outcome.misplaced}")
        for box in outcome.false_alarms:
            console.print(f"a face where none is: {outcome.case.name} {box}")


def main() -> int:
    cases = every_case((ROOT / "examples" / "eileen-collins.jpg").read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        stack = new_stack(Path(folder) / "home", **SIDE)
        with started(stack), ChildMemory(stack) as memory:
            outcomes = send_all(stack, cases)
    print_table(outcomes)
    figures = summary(outcomes, memory.megabytes)
    print(json.dumps(figures))
    good = figures["wrong_class"] == figures["misplaced"] == figures["server_errors"] == 0
    return 0 if good and figures["max_seconds"] <= MAX_SECONDS and memory.megabytes <= MAX_CHILD_MB_OF_50_MP else 1


if __name__ == "__main__":
    sys.exit(main())
