"""The service beside the design it replaces, as that was and a kinder one: one client, one contract, one S3 server.

`python -m benchmarks.bench_peers`; a table, then one JSON line last. The three take turns, each started anew, in an
order that the second round turns round. Each has as many slots, PostgreSQL of its own, and the same photos.
"""

import argparse
import json
import secrets
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from rich.table import Table

from benchmarks.bench_service import DATA, console, p95
from benchmarks.peers.peer import install, peer
from benchmarks.service.parts import ROOT, Parts, Target, receiving, service
from benchmarks.service.sending import client_of, submit_all
from tests.support.processes import bare_environment, postgresql, wait_for
from tests.support.production import S3_KEYS, redis, s3

_QUIET = {"facet": 400, "predecessor": 75, "kind": 75}
"""Seconds without a callback after which what has not come is lost: Facet looks for callbacks that a dead process left
every 300 s, Celery's Redis for its tasks after 30."""


@dataclass
class Figures:
    """What was measured of one of the three."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    first_result: float | None = None
    lost: int = 0
    doubled: int = 0
    recovery: float = 0
    """Seconds from the kill until the last callback that came."""
    faces: int = 0

    @property
    def rate(self) -> float:
        return statistics.mean(self.rates)

    @property
    def p50(self) -> float:
        return statistics.median(self.latencies)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DATA / "wider", help="folder of JPEG photos")
    arguments.add_argument("--images", type=int, default=300, help="photos under saturation, in each round")
    arguments.add_argument("--singles", type=int, default=6, help="photos sent one by one, in each round")
    arguments.add_argument("--killed", type=int, default=48, help="photos of which some are in hand when all is killed")
    arguments.add_argument("--slots", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=2)
    options = arguments.parse_args()
    photos = sorted(options.data.glob("*.jpg"))
    photos = [photos[n % len(photos)] for n in range(options.images)]
    figures = {name: Figures() for name in ("predecessor", "kind", "facet")}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        endpoint = stack.enter_context(s3(home))
        console.print("From a clone to the first result …")
        figures["facet"].first_result = _first_of_facet(home)
        figures["predecessor"].first_result, python = _first_of_peer(home, endpoint, options.slots)
        for turn in range(options.rounds):
            for name in list(figures)[:: 1 if turn % 2 else -1]:
                console.print(f"Round {turn + 1}: {name} …")
                at = home / f"{name}-{turn}"
                with _started(name, at, python=python, endpoint=endpoint, slots=options.slots) as target:
                    last = turn == options.rounds - 1
                    _measure(target, figures[name], photos, options.singles)
                    if last:
                        _kill(target, figures[name], photos[: options.killed], _QUIET[name])
    _tell(figures)
    facet, predecessor, kind = figures["facet"], figures["predecessor"], figures["kind"]
    result = {
        "speedup_predecessor": round(facet.rate / predecessor.rate, 2),
        "speedup_kind": round(facet.rate / kind.rate, 2),
        "latency_ratio": round(predecessor.p50 / facet.p50, 2),
        "latency_ratio_kind": round(kind.p50 / facet.p50, 2),
        "lost": facet.lost,
        "lost_by": {name: each.lost for name, each in figures.items()},
        "rates": {name: [round(rate, 2) for rate in each.rates] for name, each in figures.items()},
        "faces": {name: each.faces for name, each in figures.items()},
    }
    print(json.dumps(result))


@contextmanager
def _started(name: str, home: Path, *, python: Path, endpoint: str, slots: int) -> Iterator[Target]:
    if name == "facet":
        access, secret = S3_KEYS
        settings = {
            "FACET_STORE": "s3",
            "FACET_S3_ENDPOINT": endpoint,
            "FACET_S3_ACCESS_KEY": access,
            "FACET_S3_SECRET_KEY": secret,
            "FACET_S3_SECURE": "false",
            "FACET_S3_BUCKET": f"facet-{home.name}",
        }
        with service(home, profile="postgresql", worker="warm", slots=slots, **settings) as target:
            yield target
    else:
        with _peer(home, python=python, warm=name == "kind", endpoint=endpoint, slots=slots) as target:
            yield target


@contextmanager
def _peer(home: Path, *, python: Path, warm: bool, endpoint: str, slots: int, cwd: Path = ROOT) -> Iterator[Target]:
    """The predecessor with a PostgreSQL and a Redis of its own."""
    services = home.with_name(f"{home.name}-services")
    (services / "postgresql").mkdir(parents=True)
    with (
        postgresql(services / "postgresql", databases=("peer",)) as url,
        redis(services, secrets.token_hex(8)) as broker,
    ):
        environment = bare_environment() | {
            "PEER_BROKER": broker,
            "PEER_DATABASE": f"{url}/peer".replace("+psycopg2", ""),
            "PEER_S3": endpoint,
            "PEER_S3_KEYS": ":".join(S3_KEYS),
            "PYTHONPATH": str(cwd),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        with peer(home, python=python, warm=warm, slots=slots, environment=environment, cwd=cwd) as target:
            yield target


def _first_of_facet(home: Path) -> float:
    """Seconds from `git clone` until `make demo` has its callback."""
    begun = time.monotonic()
    clone = _clone(home / "facet-clone")
    subprocess.run(["make", "demo"], cwd=clone, check=True, capture_output=True, timeout=600)
    assert (clone / "demo" / "callback.json").exists()
    return time.monotonic() - begun


def _first_of_peer(home: Path, endpoint: str, slots: int) -> tuple[float, Path]:
    """Seconds from `git clone` until the predecessor has called back, with its services there; and its Python."""
    begun = time.monotonic()
    clone = _clone(home / "peer-clone")
    python = install(home / "venv")
    first = {"first": clone / "examples" / "eileen-collins.jpg"}
    with _peer(home / "first", python=python, warm=False, endpoint=endpoint, slots=slots, cwd=clone) as target:
        _answered(target, first)
        return time.monotonic() - begun, python


def _clone(to: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(to)], check=True, timeout=60)
    return to


def _submit(target: Target, photos: Mapping[str, Path], callback_url: str) -> None:
    """Send the photos by the contract that both designs speak."""
    with client_of(target) as client:
        submit_all(client, photos, callback_url, "/api/image/")


def _answered(target: Target, photos: Mapping[str, Path]) -> tuple[float, int]:
    """Seconds from the first POST to the last photo's callback, and the faces that were found."""
    faces: dict[str, int] = {}

    def note(body: dict[str, Any]) -> bool:
        faces[body["request_id"]] = len(body["faces"])
        return True

    with receiving(note) as receiver:
        begun = time.monotonic()
        _submit(target, photos, receiver.url)
        receiver.wait(list(photos), 600)
        return max(receiver.came.values()) - begun, sum(faces.values())


def _measure(target: Target, figures: Figures, photos: list[Path], singles: int) -> None:
    _answered(target, {f"warm-{n}": photos[n % len(photos)] for n in range(6)})
    for n, photo in enumerate(photos[:singles]):
        time.sleep(1.5)  # idle again
        figures.latencies.append(_answered(target, {f"single-{n}": photo})[0])
    with _peak_memory(target.parts) as memory:
        before = sum(target.parts.cpu_seconds().values())
        seconds, figures.faces = _answered(target, {f"many-{n}": photo for n, photo in enumerate(photos)})
        figures.rates.append(len(photos) / seconds)
        time.sleep(3)  # until all is told
        figures.cpu.append((sum(target.parts.cpu_seconds().values()) - before) / len(photos))
    figures.memory.append(max(memory))


def _kill(target: Target, figures: Figures, photos: list[Path], quiet: float) -> None:
    """Kill the worker at the first callback, and start it again; count what never came, and what came twice."""
    counts: Counter[str] = Counter()

    def note(body: dict[str, Any]) -> bool:
        counts[body["request_id"]] += 1
        return True

    with receiving(note) as receiver:
        _submit(target, {f"killed-{n}": photo for n, photo in enumerate(photos)}, receiver.url)
        wait_for(lambda: receiver.came, 180, "a first callback came")
        killed = time.monotonic()
        target.parts.kill("worker")
        target.parts.start("worker", target.worker)
        while len(counts) < len(photos) and time.monotonic() - max(receiver.came.values()) < quiet:
            time.sleep(0.5)
        figures.lost = len(photos) - len(counts)
        figures.doubled = sum(count > 1 for count in counts.values())
        figures.recovery = max(0.0, max(receiver.came.values()) - killed)


@contextmanager
def _peak_memory(parts: Parts) -> Iterator[list[float]]:
    """Resident megabytes of all parts together, sampled until the block ends."""
    samples: list[float] = []
    over = Event()

    def sample() -> None:
        while not over.wait(0.5):
            samples.append(sum(parts.memory_mb().values()))

    thread = Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _tell(figures: dict[str, Figures]) -> None:
    table = Table(title="Side by side", title_justify="left")
    table.add_column("")
    names = {"facet": "Facet", "predecessor": "as it was", "kind": "kinder: a warm model"}
    for name in names.values():
        table.add_column(name, justify="right")
    three = [figures[name] for name in names]
    rows = {
        "images a second, saturated": [f"{each.rate:.2f}" for each in three],
        "idle latency, p50 / p95": [f"{each.p50:.2f} / {p95(each.latencies):.2f} s" for each in three],
        "CPU seconds an image": [f"{statistics.mean(each.cpu):.2f}" for each in three],
        "peak memory": [f"{max(each.memory):.0f} MB" for each in three],
        "from git clone to the first result": [
            f"{each.first_result:.0f} s" if each.first_result else "" for each in three
        ],
        "lost when the worker is killed": [str(each.lost) for each in three],
        "until the last callback then": [f"{each.recovery:.0f} s" for each in three],
        "called back twice then": [str(each.doubled) for each in three],
    }
    for title, cells in rows.items():
        table.add_row(title, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
