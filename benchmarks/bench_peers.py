"""The service beside the design it replaces, as that was and a kinder one: one client, one contract, one S3 server.

`python -m benchmarks.bench_peers`; a table, then one JSON line last. The three take turns, each started anew, in an
order that the second round turns round. Each has as many slots, PostgreSQL of its own, and the same photos.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import httpx
from rich.table import Table

from benchmarks.bench_service import DATA, console
from benchmarks.peers.peer import Peer, install, peer
from benchmarks.service.parts import ROOT, Parts, Service, service
from tests.support.processes import answers, free_port, postgresql, running, wait_for
from tests.support.production import S3_KEYS, s3
from tests.support.receiver import serving

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

    @property
    def p95(self) -> float:
        return sorted(self.latencies)[int(0.95 * (len(self.latencies) - 1))]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DATA / "wider", help="folder of JPEG photos")
    arguments.add_argument("--images", type=int, default=150, help="photos under saturation, in each round")
    arguments.add_argument("--singles", type=int, default=6, help="photos sent one by one, in each round")
    arguments.add_argument("--killed", type=int, default=48, help="photos of which some are in hand when all is killed")
    arguments.add_argument("--slots", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=2)
    options = arguments.parse_args()
    photos = sorted(options.data.glob("*.jpg"))
    photos = [photos[n % len(photos)].read_bytes() for n in range(options.images)]
    figures = {name: Figures() for name in ("predecessor", "kind", "facet")}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        uv = Path(sys.executable).parent / "uv"
        python = install(home / "venv", uv)
        endpoint = stack.enter_context(s3(home))
        console.print("From a clone to the first result …")
        figures["facet"].first_result = _first_of_facet(home)
        figures["predecessor"].first_result = _first_of_peer(home, uv, endpoint, options.slots)
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
def _started(name: str, home: Path, *, python: Path, endpoint: str, slots: int) -> Iterator[Service | Peer]:
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
def _peer(home: Path, *, python: Path, warm: bool, endpoint: str, slots: int, cwd: Path = ROOT) -> Iterator[Peer]:
    """The predecessor with a PostgreSQL and a Redis of its own."""
    services = home.with_name(f"{home.name}-services")
    (services / "postgresql").mkdir(parents=True)
    port = free_port()
    redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (
        postgresql(services / "postgresql", databases=("peer",)) as url,
        running(redis, services / "redis.log", cwd=services),
    ):
        wait_for(lambda: answers(port), 20, "Redis answers")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("FACET_", "PREFECT_"))} | {
            "PEER_BROKER": f"redis://127.0.0.1:{port}/0",
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


def _first_of_peer(home: Path, uv: Path, endpoint: str, slots: int) -> float:
    """Seconds from `git clone` until the predecessor has called back, with its services already there."""
    begun = time.monotonic()
    clone = _clone(home / "peer-clone")
    python = install(home / "peer-venv", uv)
    photo = (clone / "examples" / "eileen-collins.jpg").read_bytes()
    first = home / "first"
    with (
        _peer(first, python=python, warm=False, endpoint=endpoint, slots=slots, cwd=clone) as target,
        _callbacks() as came,
    ):
        _submit(target.url, [("first", photo)], came.url)
        came.wait(1, 120)
        return time.monotonic() - begun


def _clone(to: Path) -> Path:
    subprocess.run(["git", "clone", "-q", str(ROOT), str(to)], check=True, timeout=60)
    return to


@dataclass
class _Callbacks:
    url: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    faces: int = 0
    last: float = 0

    def wait(self, number: int, seconds: float) -> None:
        wait_for(lambda: len(self.counts) >= number, seconds, f"{number} callbacks, of which {len(self.counts)} came")


@contextmanager
def _callbacks() -> Iterator[_Callbacks]:
    came = _Callbacks(last=time.monotonic())

    def answer(body: dict) -> int:  # type: ignore[type-arg]
        came.last = time.monotonic()
        came.faces += len(body["faces"]) if not came.counts[body["request_id"]] else 0
        came.counts[body["request_id"]] += 1
        return 204

    with serving(answer) as came.url:
        yield came


def _submit(url: str, photos: list[tuple[str, bytes]], callback_url: str) -> None:
    """Send all photos by the contract that both designs speak, four at a time."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client, ThreadPoolExecutor(4) as pool:

        def send(request_id: str, photo: bytes) -> None:
            answer = client.post(
                "/api/image/",
                files={"image": ("photo.jpg", photo)},
                data={"request_id": request_id, "callback_url": callback_url},
            )
            assert answer.status_code == 202, answer.text

        for sent in [pool.submit(send, request_id, photo) for request_id, photo in photos]:
            sent.result()


def _measure(target: Service | Peer, figures: Figures, photos: list[bytes], singles: int) -> None:
    with _callbacks() as came:
        _submit(target.url, [(f"warm-{n}", photos[n % len(photos)]) for n in range(6)], came.url)
        came.wait(6, 180)
    with _callbacks() as came:
        for n, photo in enumerate(photos[:singles]):
            time.sleep(1.5)  # idle again
            begun = time.monotonic()
            _submit(target.url, [(f"single-{n}", photo)], came.url)
            came.wait(n + 1, 120)
            figures.latencies.append(came.last - begun)
    with _callbacks() as came, _peak_memory(target.parts) as memory:
        before = sum(target.parts.cpu_seconds().values())
        begun = time.monotonic()
        _submit(target.url, [(f"many-{n}", photo) for n, photo in enumerate(photos)], came.url)
        came.wait(len(photos), 600)
        figures.rates.append(len(photos) / (came.last - begun))
        time.sleep(3)  # until all is told
        figures.cpu.append((sum(target.parts.cpu_seconds().values()) - before) / len(photos))
        figures.faces = came.faces
    figures.memory.append(max(memory))


def _kill(target: Service | Peer, figures: Figures, photos: list[bytes], quiet: float) -> None:
    """Kill the worker at the first callback, and start it again; count what never came, and what came twice."""
    with _callbacks() as came:
        _submit(target.url, [(f"killed-{n}", photo) for n, photo in enumerate(photos)], came.url)
        came.wait(1, 180)
        killed = time.monotonic()
        target.parts.kill("worker")
        target.parts.start("worker", target.worker)
        while len(came.counts) < len(photos) and time.monotonic() - came.last < quiet:
            time.sleep(0.5)
        figures.lost = len(photos) - len(came.counts)
        figures.doubled = sum(count > 1 for count in came.counts.values())
        figures.recovery = came.last - killed


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
        "idle latency, p50 / p95": [f"{each.p50:.2f} / {each.p95:.2f} s" for each in three],
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
