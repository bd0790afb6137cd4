"""Both engines, each in a process of its own with one thread, asked in turn.

The reference is the `mtcnn` package itself, not Facet's wrapper of it. Times are CPU seconds of the
engine's process, around the detection alone.
"""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rows = NDArray[np.float64]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(slots=True)
class Answer:
    """`rows` (n, 15): x1, y1, x2, y2, confidence, five x, five y; `error` where the engine raised."""

    rows: Rows = field(default_factory=lambda: np.empty((0, 15)))
    seconds: float = 0.0
    error: str = ""


class Engine:
    """A process that runs the engine; use as a context manager."""

    def __init__(self, kind: str) -> None:
        os.environ.update(ONE_THREAD)  # inherited by the process, whose libraries read it when they load
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(kind, theirs), daemon=True)
        self._process.start()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()

    def ask(self, task: str, image: Image | None = None) -> Any:
        self._connection.send((task, image))
        return self._connection.recv()

    def detect(self, image: Image) -> Answer:
        answer: Answer = self.ask("detect", image)
        return answer


def _serve(kind: str, connection: Connection) -> None:
    tasks = {"facet": _facet, "reference": _reference}[kind]()
    tasks["peak_rss"] = lambda _: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tasks["gemm"] = lambda _: _gemm_rate()
    while True:
        task, image = connection.recv()
        connection.send(tasks[task](image))


def _timed(detect: Callable[[Image], Rows]) -> Callable[[Image], Answer]:
    def run(image: Image) -> Answer:
        start = time.process_time()
        try:
            rows = detect(image)
        except Exception as error:
            return Answer(seconds=time.process_time() - start, error=f"{type(error).__name__}: {error}"[:80])
        return Answer(rows, time.process_time() - start)

    return run


def _facet() -> dict[str, Callable[[Any], Any]]:
    from facet.detector import KEYPOINT_NAMES, create_detector

    detector: Any = create_detector("mtcnn", threads=1)

    def detect(image: Image) -> Rows:
        rows = []
        for face in detector.detect([image])[0]:
            x, y, width, height = face.box
            points = np.array([face.keypoints[name] for name in KEYPOINT_NAMES])
            rows.append([x, y, x + width, y + height, face.confidence, *points[:, 0], *points[:, 1]])
        return np.array(rows, np.float64).reshape(-1, 15)

    return {"detect": _timed(detect), "stages": lambda image: _stages(detector, image)}


def _stages(detector: Any, image: Image) -> dict[str, float]:
    """CPU seconds of each stage, and the numbers of crops ("r-net crops", "o-net crops")."""
    times: dict[str, float] = {}
    last = time.process_time()

    def mark(stage: str) -> None:
        nonlocal last
        now = time.process_time()
        times[stage] = times.get(stage, 0.0) + now - last
        last = now

    quiet, score = detector.on_stage, detector._score

    def counting(network: Any, stage: str, *rest: Any) -> Any:
        times[f"{stage} crops"] = sum(len(boxes) for boxes in rest[-1])
        return score(network, stage, *rest)

    detector.on_stage, detector._score = mark, counting
    try:
        detector.detect([image])
        mark("selection")
    finally:
        detector.on_stage, detector._score = quiet, score
    return times


def _reference() -> dict[str, Callable[[Any], Any]]:
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(1)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    from mtcnn import MTCNN
    from mtcnn.utils import images as package

    mtcnn = MTCNN()

    def detect(image: Image) -> Rows:
        rows = np.asarray(mtcnn.detect_faces(image, box_format="xyxy", output_type="numpy"), np.float64)
        return rows[:, 1:16] if len(rows) else np.empty((0, 15))

    def detect_with_exact_resize(image: Image) -> Rows:
        own = package.scale_images
        package.scale_images = _exact_area_resize
        try:
            return detect(image)
        finally:
            package.scale_images = own

    return {"detect": _timed(detect), "detect_with_exact_resize": _timed(detect_with_exact_resize)}


def _exact_area_resize(images: NDArray[Any], scale: float) -> Any:
    """The mean over each area in float64, for `mtcnn.utils.images.scale_images`."""
    import tensorflow

    def weights(size: int) -> NDArray[np.float64]:
        edges = np.arange(int(size * scale) + 1) * (size / int(size * scale))
        pixels = np.arange(size)
        overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        shares: NDArray[np.float64] = np.clip(overlap, 0, 1) * (int(size * scale) / size)
        return shares

    height, width = images.shape[1:3]
    image = np.tensordot(weights(height), np.asarray(images[0], np.float64), axes=(1, 0))
    image = np.tensordot(weights(width), image, axes=(1, 1)).transpose(1, 0, 2)
    return tensorflow.constant(image[None].astype(np.float32))


def _gemm_rate() -> float:
    """Floating-point operations a second of one thread in a large float32 matrix product."""
    side = 768
    a = np.random.default_rng(0).random((side, side)).astype(np.float32)
    b = a.T.copy()
    rates = []
    for _ in range(5):
        start = time.process_time()
        a @ b
        rates.append(2 * side**3 / (time.process_time() - start))
    return float(np.median(rates))
