"""Photos of a phone's size through the service: images a second, decodings of each photo, a child's memory."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.service.parts import ROOT, Service, receiving, service
from benchmarks.service.sending import client_of, submit_all

_RUN = 16
_QUIET_SECONDS = 5.0
_TITLES = {
    "images_per_second": "images/s, a run of 16 of 12 MP",
    "decodes_per_photo": "decodings of each of these",
    "peak_mb": "child's peak with them, MB",
    "peak_24mp_mb": "child's peak with one of 24 MP, MB",
    "rest_mb": "child at rest after these, MB",
}


def compare(photos: Sequence[Path], trees: Sequence[Path], rounds: int, console: Console) -> None:
    """Each round runs each tree once; tables, then one JSON line with the best of the rounds.

    `trees` are checkouts with an environment of their own in `.venv`, besides this one.
    """
    with TemporaryDirectory() as folder:
        home = Path(folder)
        many = [_mosaic(photos[4 * n :], home / f"phone-{n}.jpg", 4000, 3000, 2) for n in range(_RUN)]
        large = _mosaic(photos, home / "large.jpg", 6000, 4000, 3)
        found: dict[str, list[dict[str, float]]] = {}
        for number in range(rounds):
            for tree in [ROOT, *trees]:
                name = "service" if tree == ROOT else tree.name
                console.print(f"Round {number + 1}: {name} …")
                found.setdefault(name, []).append(_measure(home / f"{name}-{number}", tree, many, large))
    best = {name: {key: _best(key, each) for key in _TITLES} for name, each in found.items()}
    table = Table(title=f"Photos of a phone's size, the best of {rounds} round(s)", title_justify="left")
    table.add_column("")
    for name in best:
        table.add_column(name, justify="right")
    for key, title in _TITLES.items():
        table.add_row(title, *(f"{figures[key]:g}" for figures in best.values()))
    console.print(table)
    print(json.dumps({"phone": best}))


def _best(key: str, rounds: Sequence[dict[str, float]]) -> float:
    return (max if key == "images_per_second" else min)(figures[key] for figures in rounds)


def _mosaic(photos: Sequence[Path], path: Path, width: int, height: int, across: int) -> Path:
    """A JPEG of `across` × `across` of the photos, each stretched to its place."""
    picture = np.empty((height, width, 3), np.uint8)
    rows, columns = np.linspace(0, height, across + 1, dtype=int), np.linspace(0, width, across + 1, dtype=int)
    for place in range(across * across):
        top, bottom = rows[place // across : place // across + 2]
        left, right = columns[place % across : place % across + 2]
        picture[top:bottom, left:right] = cv2.resize(cv2.imread(str(photos[place])), (right - left, bottom - top))
    assert cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def _measure(home: Path, tree: Path, photos: Sequence[Path], large: Path) -> dict[str, float]:
    home.mkdir()
    decodes = home / "decodes"
    decodes.touch()
    settings = {
        "FACET_MAX_BATCH": str(_RUN),
        "FACET_MAX_RUNS": "1",
        "FACET_BENCH_DECODES": str(decodes),
        "PYTHONPATH": str(Path(__file__).parent / "counting"),
    }
    with service(home / "home", profile="embedded", worker="warm", slots=1, tree=tree, **settings) as target:
        _run(target, [large])  # so that no figure has what is opened once
        _forget_peaks(target)
        before = len(decodes.read_text().split())
        seconds = _run(target, photos)
        decoded = len(decodes.read_text().split()) - before - 1  # that of the photo that went before
        peak = _peak_mb(target)
        _forget_peaks(target)
        _run(target, [large])
        peak_of_large = _peak_mb(target)
        return {
            "images_per_second": round(len(photos) / seconds, 2),
            "decodes_per_photo": round(decoded / len(photos), 2),
            "peak_mb": peak,
            "peak_24mp_mb": peak_of_large,
            "rest_mb": max(round(child.memory_info().rss / 1e6) for child in _children(target)),
        }


def _run(target: Service, photos: Sequence[Path]) -> float:
    """The photos in one flow run; the seconds that it takes.

    Before it goes one of a single photo, which takes the only slot, so that these wait for it together.
    """
    first, *names = (f"phone-{time.monotonic_ns()}-{n}" for n in range(len(photos) + 1))
    known = len(target.flow_runs())
    with receiving(lambda body: body["status"] == "completed") as receiver, client_of(target) as client:
        with target.parts.frozen("prefect"):
            submit_all(client, {first: photos[0]}, receiver.url)
            time.sleep(1)  # until it is in a run of its own
            submit_all(client, dict(zip(names, photos, strict=True)), receiver.url)
        receiver.wait([first, *names], 300)
        seconds = max(receiver.came.values()) - receiver.came[first]
    assert not receiver.wrong, receiver.wrong
    time.sleep(_QUIET_SECONDS)
    sizes = [len(run["parameters"]["image_ids"]) for run in target.flow_runs()[known:]]
    assert sorted(sizes) == [1, len(photos)], sizes
    return seconds


def _children(target: Service) -> list[psutil.Process]:
    return [child for child in psutil.Process(target.parts.pid("worker")).children() if child.is_running()]


def _forget_peaks(target: Service) -> None:
    for child in _children(target):
        Path(f"/proc/{child.pid}/clear_refs").write_text("5")


def _peak_mb(target: Service) -> int:
    """Of the child that has held most since peaks were forgotten."""
    peaks = []
    for child in _children(target):
        [line] = [each for each in Path(f"/proc/{child.pid}/status").read_text().splitlines() if "VmHWM" in each]
        peaks.append(round(int(line.split()[1]) * 1024 / 1e6))
    return max(peaks)
