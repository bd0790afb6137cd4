"""Bulk reprocessing beside the bare detector, and what submissions feel of it.

`python -m benchmarks.bench_bulk`; a table, then one JSON line last. The stored photos are reprocessed several times:
alone, between rounds of the bare loop, for the throughput; then with photos submitted one by one beside it, for the
latency of those.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from rich.table import Table

from benchmarks.bench_service import DATA, console, is_right, p95
from benchmarks.service.bare import ceiling, faces_and_seconds
from benchmarks.service.parts import Service, receiving, service
from benchmarks.service.sending import client_of, submit
from tests.support.stored import record_results, results, store_completed


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DATA / "wider", help="folder of JPEG photos")
    arguments.add_argument("--images", type=int, default=800, help="stored photos")
    arguments.add_argument("--rounds", type=int, default=2, help="of bulk work alone, between those of the bare loop")
    arguments.add_argument("--slots", type=int, default=2)
    arguments.add_argument("--singles", type=int, default=20, help="photos submitted, idle and beside bulk work")
    options = arguments.parse_args()
    photos = sorted(options.data.glob("*.jpg"))
    many = [photos[n % len(photos)] for n in range(options.images)]
    singles = many[: options.singles]
    console.print("Bare detection …")
    bare = dict(zip(photos, faces_and_seconds(photos), strict=True))
    ceilings = [ceiling(many[:300], options.slots)]
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with service(home, profile="embedded", worker="warm", slots=options.slots) as target:
            url = f"sqlite:///{home / 'facet.db'}"
            ids = store_completed(home, url, [photo.read_bytes() for photo in many], annotate=True)
            record_results(url)
            idle = [_submitted(target, photo, bare[photo][0]) for photo in singles]
            alone = []
            for _ in range(options.rounds):
                alone.append(_reprocess(target, _ask(target)))
                ceilings.append(ceiling(many[:300], options.slots))
            asked = _ask(target)
            busy: list[float] = []
            while len(busy) < options.singles and not _is_over(target, asked):
                busy.append(_submitted(target, singles[len(busy)], bare[singles[len(busy)]][0]))
            beside = _reprocess(target, asked)
            skipped, doubled = _miscounted(ids, results(url), times=options.rounds + 1)
    _tell(idle, busy, alone, beside, ceilings)
    top, rate = statistics.mean(ceilings), statistics.mean(_rate(each) for each in alone)
    result = {
        "ceiling": round(top, 2),
        "bulk": round(rate, 2),
        "bulk_efficiency": round(rate / top, 3),
        "interactive_ratio": round(p95(busy) / p95(idle), 2),
        "interactive": len(busy),
        "skipped": skipped,
        "doubled": doubled,
    }
    print(json.dumps(result))


def _submitted(target: Service, photo: Path, faces: int) -> float:
    """Seconds from the POST of a photo to its callback."""
    request_id = f"single-{time.monotonic_ns()}"
    with receiving(lambda body: is_right(body, {request_id: faces})) as receiver, client_of(target) as client:
        begun = time.monotonic()
        submit(client, photo, request_id, receiver.url)
        receiver.wait([request_id], 120)
        assert not receiver.wrong
        time.sleep(1.5)
        return receiver.came[request_id] - begun


def _ask(target: Service) -> str:
    """Reprocess what was stored; returns the reprocessing's path."""
    with client_of(target) as client:
        request = {"request_id_prefix": "stored-", "other_detector": False}
        answer = client.post("/v1/reprocessings", json=request)
        assert answer.status_code == 202, answer.text
        return f"/v1/reprocessings/{answer.json()['id']}"


def _read(target: Service, path: str) -> dict[str, Any]:
    with client_of(target) as client:
        return dict(client.get(path).raise_for_status().json())


def _is_over(target: Service, path: str) -> bool:
    return str(_read(target, path)["state"]) != "active"


def _reprocess(target: Service, path: str) -> dict[str, Any]:
    """Await its end; its answer, and the seconds from its being asked for to its end."""
    begun = time.monotonic()
    while not _is_over(target, path):
        time.sleep(1)
        assert time.monotonic() - begun < 1800, "the reprocessing does not end"
    over = _read(target, path)
    created, finished = (datetime.fromisoformat(over[name]) for name in ("created_at", "finished_at"))
    return over | {"seconds": (finished - created).total_seconds()}


def _rate(over: dict[str, Any]) -> float:
    """Photos a second of a reprocessing that is over."""
    return float(over["completed"] / over["seconds"])


def _miscounted(ids: list[UUID], found: list[UUID], *, times: int) -> tuple[int, int]:
    """Images with fewer and with more new results than there should be."""
    counts = Counter(found)
    return sum(counts[i] < times for i in ids), sum(counts[i] > times for i in ids)


def _tell(
    idle: list[float], busy: list[float], alone: list[dict[str, Any]], beside: dict[str, Any], ceilings: list[float]
) -> None:
    table = Table("", "p50 s", "p95 s", "photos", title="Submissions, from POST to callback", title_justify="left")
    for name, values in (("idle", idle), ("beside bulk work", busy)):
        table.add_row(name, f"{statistics.median(values):.2f}", f"{p95(values):.2f}", str(len(values)))
    console.print(table)
    for name, over in (*(("alone", each) for each in alone), ("beside submissions", beside)):
        console.print(
            f"Bulk {name}: {over['completed']} of {over['total']} photos in {over['seconds']:.0f} s, "
            f"{over['failed']} failed, {_rate(over):.2f} images/s"
        )
    console.print(
        f"Ceilings of the bare loop, around each round alone: {', '.join(f'{c:.2f}' for c in ceilings)} images/s"
    )


if __name__ == "__main__":
    main()
