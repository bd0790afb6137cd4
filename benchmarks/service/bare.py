"""The bare work: JPEG bytes to faces in a loop, in as many processes as slots, with no service around it."""

import multiprocessing as mp
import time
from collections.abc import Sequence
from pathlib import Path

from facet.detector import create_detector
from facet.pictures.codec import decode

_MAX_PIXELS = 75_000_000


def ceiling(paths: Sequence[Path], processes: int) -> float:
    """Images per second, from when all processes are ready until the last has ended."""
    spawn = mp.get_context("spawn")
    jobs, ready, go = spawn.Queue(), spawn.Semaphore(0), spawn.Event()
    for path in paths:
        jobs.put(str(path))
    for _ in range(processes):
        jobs.put(None)
    children = [spawn.Process(target=_loop, args=(jobs, ready, go)) for _ in range(processes)]
    for child in children:
        child.start()
    for _ in children:
        assert ready.acquire(timeout=120), "a process of the bare loop is not ready"
    begun = time.monotonic()
    go.set()
    for child in children:
        child.join()
    return len(paths) / (time.monotonic() - begun)


def _loop(jobs, ready, go) -> None:  # type: ignore[no-untyped-def]
    detector = create_detector("mtcnn", threads=1)
    ready.release()
    go.wait()
    while path := jobs.get():
        detector.detect([decode(Path(path).read_bytes(), max_pixels=_MAX_PIXELS)])


def faces_and_seconds(paths: Sequence[Path]) -> list[tuple[int, float]]:
    """The number of faces above the default confidence, and the seconds from bytes to faces, of each photo."""
    detector = create_detector("mtcnn", threads=1)
    detector.detect([decode(paths[0].read_bytes(), max_pixels=_MAX_PIXELS)])
    results = []
    for path in paths:
        data = path.read_bytes()
        begun = time.monotonic()
        [faces] = detector.detect([decode(data, max_pixels=_MAX_PIXELS)])
        results.append((sum(face.confidence > 0.94 for face in faces), time.monotonic() - begun))
    return results
