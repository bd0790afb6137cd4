"""What the service makes of the bare detector's speed: throughput, latency, CPU and memory, beside a stock worker.

`python -m benchmarks.bench_service`; tables, then one JSON line last.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.service import phone
from benchmarks.service.bare import ceiling, faces_and_seconds
from benchmarks.service.parts import CheckingReceiver, Service, receiving, service
from benchmarks.service.sending import client_of, submit, submit_all

_ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("FACET_TEST_DATA", _ROOT.parent / "shared" / "data"))
console = Console(width=110)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DATA / "wider", help="folder of JPEG photos")
    arguments.add_argument("--images", type=int, default=400, help="photos under saturation, in each round")
    arguments.add_argument("--rounds", type=int, default=3, help="of the service, between those of the bare loop")
    arguments.add_argument("--slots", type=int, default=2)
    arguments.add_argument("--singles", type=int, default=20, help="photos sent one by one to the idle service")
    arguments.add_argument("--stock", type=int, default=6, help="photos sent one by one to the stock worker")
    arguments.add_argument("--profile", choices=["embedded", "postgresql"], default="embedded")
    arguments.add_argument("--photos", choices=["wider", "phone"], default="wider", help="phone: 12 and 24 MP")
    arguments.add_argument(
        "--against", type=Path, action="append", default=[], help="checkout to run --photos phone on"
    )
    options = arguments.parse_args()
    photos = sorted(options.data.glob("*.jpg"))
    if options.photos == "phone":
        phone.compare(photos, [path.resolve() for path in options.against], options.rounds, console)
        return
    many = [photos[n % len(photos)] for n in range(options.images)]
    singles = many[: options.singles]
    console.print("Bare detection …")
    bare = dict(zip(photos, faces_and_seconds(photos), strict=True))
    with TemporaryDirectory() as folder:
        home = Path(folder)
        ceilings = [ceiling(many, options.slots)]
        rounds = []
        with service(home / "warm", profile=options.profile, worker="warm", slots=options.slots) as warm:
            first = _one_by_one(warm, singles[: len(singles) // 2], bare)
            for _ in range(options.rounds):
                rounds.append(_saturate(warm, many, bare))
                ceilings.append(ceiling(many, options.slots))
            second = _one_by_one(warm, singles[len(singles) // 2 :], bare)
        with service(
            home / "single", profile=options.profile, worker="warm", slots=options.slots, FACET_MAX_BATCH="1"
        ) as one:
            single = _saturate(one, many[:60], bare)
        with service(home / "stock", profile=options.profile, worker="stock", slots=options.slots) as stock:
            stocks = _one_by_one(stock, many[: options.stock], bare)
    latencies = first["latencies"] + second["latencies"]
    bare_seconds = [bare[photo][1] for photo in singles]
    top, rate = statistics.mean(ceilings), statistics.mean(each["rate"] for each in rounds)
    result = {
        "ceiling": round(top, 2),
        "service": round(rate, 2),
        "efficiency": round(rate / top, 3),
        "cpu_per_image": round(statistics.mean(each["cpu"] for each in rounds), 3),
        "single": {"cpu_per_image": round(single["cpu"], 3)},
        "latency": {
            "p50": round(statistics.median(latencies), 3),
            "p95": round(p95(latencies), 3),
            "bare_p50": round(statistics.median(bare_seconds), 3),
        },
        "stock": {
            "p50": round(statistics.median(stocks["latencies"]), 2),
            "cpu_per_image": round(stocks["cpu"], 2),
        },
    }
    for number, each in enumerate(rounds, 1):
        _tell(f"Under saturation, batched, round {number}", each)
    _tell("Under saturation, batches of one", single)
    _tell("One by one, warm worker", second)
    _tell("One by one, stock worker", stocks)
    console.print(f"Ceilings of the bare loop, around each round: {', '.join(f'{c:.2f}' for c in ceilings)} images/s")
    print(json.dumps(result))


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def _saturate(target: Service, photos: list[Path], bare: dict[Path, tuple[int, float]]) -> dict[str, Any]:
    """All photos as fast as they are taken, from the first POST to the last callback."""
    wanted = {f"many-{n}-{time.monotonic_ns()}": bare[photo][0] for n, photo in enumerate(photos)}
    with receiving(lambda body: is_right(body, wanted)) as receiver, client_of(target) as client:
        before, known = target.parts.cpu_seconds(), len(target.flow_runs())
        begun = time.monotonic()
        submit_all(client, dict(zip(wanted, photos, strict=True)), receiver.url)
        receiver.wait(list(wanted), 600)
        seconds = max(receiver.came.values()) - begun
        time.sleep(3)  # until the last flow run has told Prefect of its end
        return _account(target, before, known, len(photos), receiver) | {"rate": len(photos) / seconds}


def _one_by_one(target: Service, photos: list[Path], bare: dict[Path, tuple[int, float]]) -> dict[str, Any]:
    """One photo at a time to an idle service; the seconds from POST to callback of each."""
    wanted = {f"single-{n}-{time.monotonic_ns()}": bare[photo][0] for n, photo in enumerate(photos)}
    latencies = []
    with receiving(lambda body: is_right(body, wanted)) as receiver, client_of(target) as client:
        before, known = target.parts.cpu_seconds(), len(target.flow_runs())
        for request_id, photo in zip(wanted, photos, strict=True):
            begun = time.monotonic()
            submit(client, photo, request_id, receiver.url)
            receiver.wait([request_id], 120)
            latencies.append(receiver.came[request_id] - begun)
            time.sleep(1.5)  # idle again
        time.sleep(3)
        return _account(target, before, known, len(photos), receiver) | {"latencies": latencies}


def is_right(body: dict[str, Any], wanted: dict[str, int]) -> bool:
    return body["status"] == "completed" and len(body["faces"]) == wanted.get(body["request_id"])


def _account(
    target: Service, before: dict[str, float], known: int, images: int, receiver: CheckingReceiver
) -> dict[str, Any]:
    assert not receiver.wrong, f"wrong callbacks: {receiver.wrong}"
    after = target.parts.cpu_seconds()
    spent = {name: (after[name] - before.get(name, 0)) / images for name in after}
    runs = target.flow_runs()[known:]
    sizes = [len(run["parameters"].get("image_ids", [])) for run in runs]
    taken = [image_id for run in runs for image_id in run["parameters"].get("image_ids", [])]
    assert len(set(taken)) == images, f"{len(set(taken))} of {images} images are in a flow run that Prefect knows"
    return {
        "cpu": sum(spent.values()),
        "cpu_by_part": spent,
        "memory": target.parts.memory_mb(),
        "runs": len(runs),
        "sizes": sizes,
        "images": images,
    }


def _tell(title: str, figures: dict[str, Any]) -> None:
    table = Table(title=f"{title}: {figures['images']} images", title_justify="left")
    for column in ("part", "CPU ms an image", "resident MB, with children"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, seconds in figures["cpu_by_part"].items():
        table.add_row(
            name, f"{seconds * 1000:.0f}", str(int(figures["memory"][name])) if name in figures["memory"] else ""
        )
    table.add_row("all", f"{figures['cpu'] * 1000:.0f}", str(int(sum(figures["memory"].values()))))
    console.print(table)
    rate = f"{figures['rate']:.2f} images/s, " if "rate" in figures else ""
    console.print(f"{rate}{figures['runs']} flow runs, batch sizes {figures['sizes']}\n")


if __name__ == "__main__":
    main()
