"""MTCNN's cascade, whatever runs its networks: propose, refine, refine again and find the landmarks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from facet.detector.area_resize import AreaResizer
from facet.detector.base import DetectedFace, DetectionParameters, check_request
from facet.detector.crops import crop_positions, sample_crops
from facet.detector.mtcnn_boxes import (
    P_NET_STRIDE,
    P_NET_WINDOW,
    box_sizes,
    by_confidence,
    clip_to_image,
    make_square,
    pyramid_scales,
    refine,
    sigmoid,
    suppress,
)
from facet.detector.mtcnn_models import O_NET_OUTPUTS, O_NET_SIDE, R_NET_OUTPUTS, R_NET_SIDE
from facet.detector.working_size import WorkingImage, to_faces, working_image

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Indices = NDArray[np.intp]

RESULTS_VERSION = 1
"""Raise it with any change after which the same weights may give other faces."""

_STRIP_OVERLAP = P_NET_WINDOW - P_NET_STRIDE
"""Rows of a level that one strip of P-Net's cells shares with the next."""

_KEPT_BYTES = 64 << 20  # scratch space beyond this, for a huge image, is given back after it


@dataclass(frozen=True, slots=True)
class Networks:
    """The three networks in one runtime, and the portions in which that likes its work.

    Pixels are RGB from 0 to 255, float32, the colours last. P-Net takes a strip, (rows, columns, 3), and the least
    logit asked for; it returns the numbers, (n,), of at least all cells that reach it, counted row by row, and their
    outputs, (n, 5). R-Net takes crops, (n, 24, 24, 3), and the least logit; of a crop that does not reach it,
    its outputs (n, 5) need only say so. O-Net takes crops, (n, 48, 48, 3), and returns (n, 15).

    P-Net gets strips of about `strip_cells` output cells, R-Net and O-Net so many crops at a time:
    small enough that a network's intermediate maps stay in the processor's cache, and memory flat.
    """

    p_net: Callable[[Float32, float], tuple[Indices, Float32]]
    r_net: Callable[[Float32, float], Float32]
    o_net: Callable[[Float32], Float32]
    strip_cells: int
    r_net_crops: int
    o_net_crops: int


def cells_that_reach(scores: Float32, least: float) -> tuple[Indices, Float32]:
    """Numbers, (n,), and outputs, (n, 5), of the cells of P-Net's output (5, rows, columns), counted row by row."""
    flat = scores.reshape(len(scores), -1)
    reached = np.flatnonzero(flat[4] >= np.float32(least))
    return reached, flat[:, reached].T


class Cascade:
    """Searches images with `networks`; keeps scratch space, so one thread at a time may use it.

    `on_stage`, for measurements, is called with a stage's name at each stage's end.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._scratch = _Scratch()
        self._r_crops = np.empty((networks.r_net_crops, R_NET_SIDE, R_NET_SIDE, 3), np.float32)
        self._o_crops = np.empty((networks.o_net_crops, O_NET_SIDE, O_NET_SIDE, 3), np.float32)
        self.on_stage: Callable[[str], None] = lambda stage: None

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        parameters: Sequence[DetectionParameters] | None = None,
    ) -> list[list[DetectedFace]]:
        """See `Detector.detect`. Crops of all the images go through R-Net and O-Net together."""
        parameters = check_request(images, parameters)
        if not images:
            return []
        searched = [working_image(image, p) for image, p in zip(images, parameters, strict=True)]
        boxes = [self._propose(image, p) for image, p in zip(searched, parameters, strict=True)]
        boxes = self._refine(searched, boxes, parameters)
        rows = self._finish(searched, boxes, parameters)
        self._scratch.shrink()
        return [to_faces(r, image) for r, image in zip(rows, searched, strict=True)]

    def _propose(self, image: WorkingImage, parameters: DetectionParameters) -> Float64:
        """P-Net over the pyramid: square candidates (n, 5), the most confident first."""
        height, width = image.pixels.shape[:2]
        scales = pyramid_scales(height, width, image.min_face_size, parameters.scale_factor)
        if not scales.size:
            return np.empty((0, 5))
        resizer = AreaResizer(image.pixels, self._scratch.bytes(AreaResizer.scratch_size(image.pixels)))
        self.on_stage("resize")
        threshold = parameters.thresholds[0]
        levels = [
            self._propose_at(resizer, int(height * scale), int(width * scale), _least_logit(threshold))
            for scale in scales.tolist()
        ]
        groups = np.repeat(np.arange(len(levels)), [len(scores) for _, scores in levels])
        cells, scores = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        firing = sigmoid(scores[:, 4]) > threshold
        groups = groups[firing]
        boxes = _candidates(cells[firing], scores[firing], scales[groups])
        starts = np.searchsorted(groups, np.arange(len(levels) + 1))
        boxes = np.concatenate([by_confidence(boxes[a:b]) for a, b in pairwise(starts)])
        boxes = suppress(boxes, 0.5, groups=groups)
        boxes = make_square(suppress(by_confidence(boxes), 0.7))
        self.on_stage("proposals")
        return boxes

    def _propose_at(self, resizer: AreaResizer, height: int, width: int, least: float) -> tuple[Indices, Float32]:
        """P-Net over one pyramid level: rows and columns, (n, 2), and scores, (n, 5), of what the network finds."""
        cell_rows, cell_columns = (height - 1) // 2 - 4, (width - 1) // 2 - 4
        strips = max(1, round(cell_rows * cell_columns / self._networks.strip_cells))
        strip_rows = -(-cell_rows // strips)
        # The whole level first: going to and fro between the two costs the resizer its place in the cache.
        level = resizer.resize(height, width)
        self.on_stage("resize")
        found = []
        for top in range(0, cell_rows, strip_rows):
            bottom = top + strip_rows
            end = height if bottom >= cell_rows else P_NET_STRIDE * bottom + _STRIP_OVERLAP
            cells, scores = self._networks.p_net(level[P_NET_STRIDE * top : end], least)
            found.append((cells + top * cell_columns, scores))
        self.on_stage("p-net")
        cells, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return np.column_stack(np.divmod(cells, cell_columns)), scores

    def _refine(
        self, images: Sequence[WorkingImage], boxes: list[Float64], parameters: Sequence[DetectionParameters]
    ) -> list[Float64]:
        """R-Net over all candidates: fewer, better squares for each image."""
        least = min(_least_logit(p.thresholds[1]) for p in parameters)

        def r_net(crops: Float32) -> Float32:
            return self._networks.r_net(crops, least)

        scores = self._score(r_net, "r-net", self._r_crops, R_NET_OUTPUTS, images, boxes)
        result = []
        for candidates, s, p in zip(boxes, scores, parameters, strict=True):
            refined = refine(candidates, s[:, :4], sigmoid(s[:, 4]))
            refined = refined[refined[:, 4] > p.thresholds[1]]
            result.append(make_square(suppress(by_confidence(refined), 0.7)))
        self.on_stage("selection")
        return result

    def _finish(
        self, images: Sequence[WorkingImage], boxes: list[Float64], parameters: Sequence[DetectionParameters]
    ) -> list[Float64]:
        """O-Net over what is left: rows (n, 15) of corners, confidence and landmarks, the best first."""
        scores = self._score(self._networks.o_net, "o-net", self._o_crops, O_NET_OUTPUTS, images, boxes)
        result = []
        for image, candidates, s, p in zip(images, boxes, scores, parameters, strict=True):
            refined = refine(candidates, s[:, :4], sigmoid(s[:, 4]))
            rows = np.column_stack([refined, _landmarks(candidates, s[:, 5:])])
            rows = by_confidence(rows[rows[:, 4] > p.thresholds[2]])
            result.append(clip_to_image(suppress(rows, 0.7, "min"), *image.pixels.shape[:2]))
        self.on_stage("selection")
        return result

    def _score(
        self,
        network: Callable[[Float32], Float32],
        stage: str,
        buffer: Float32,
        outputs: int,
        images: Sequence[WorkingImage],
        boxes: Sequence[Float64],
    ) -> list[Float32]:
        """Run a network over the crops of all images, a buffer full at a time; scores (n, outputs) each."""
        counts = [len(b) for b in boxes]
        scores = np.empty((sum(counts), outputs), np.float32)
        places: list[Indices] = []
        done = filled = first = 0

        def run() -> None:
            nonlocal done, filled
            scores[done : done + filled] = network(buffer[:filled])
            done, filled = done + filled, 0
            self.on_stage(stage)

        for image, candidates in zip(images, boxes, strict=True):
            # From top to bottom, so that neighbouring crops find their pixels in the cache.
            order = np.argsort(candidates[:, 1])
            places.append(order + first)
            first += len(candidates)
            height, width = image.pixels.shape[:2]
            xs, ys = crop_positions(candidates[order], height, width, buffer.shape[1])
            start = 0
            while start < len(candidates):
                count = min(len(candidates) - start, len(buffer) - filled)
                part = slice(start, start + count)
                sample_crops(self._scratch.as_float(image.pixels), xs[part], ys[part], buffer[filled : filled + count])
                self.on_stage("crops")
                start, filled = start + count, filled + count
                if filled == len(buffer):
                    run()
        if filled:
            run()
        result = np.empty_like(scores)
        result[np.concatenate(places)] = scores
        return np.split(result, np.cumsum(counts)[:-1])


def _least_logit(threshold: float) -> float:
    """A logit that all confidences above the threshold have; `sigmoid` then decides as the reference's softmax does."""
    return math.log(threshold / (1 - threshold)) - 1e-3


def _candidates(cells: Indices, scores: Float32, scales: Float64) -> Float64:
    """P-Net's cells, (n, 2), as boxes (n, 5) in pixels of the image; `scales` are those of the cells' levels."""
    corner = cells[:, ::-1] * P_NET_STRIDE + 1
    window = np.concatenate([corner, corner + P_NET_WINDOW - 1], axis=1)
    corners = (window + scores[:, :4].astype(np.float64) * (P_NET_WINDOW - 1)) / scales[:, None]
    return np.column_stack([corners, sigmoid(scores[:, 4])])


def _landmarks(boxes: Float64, relative: Float32) -> Float64:
    """O-Net's landmarks, in parts of the box, as pixels: (n, 10), five x and then five y."""
    size = box_sizes(boxes)
    x = size[:, :1] * relative[:, :5] + boxes[:, 0:1] - 1
    y = size[:, 1:] * relative[:, 5:] + boxes[:, 1:2] - 1
    # The reference keeps them in float32.
    return np.concatenate([x, y], axis=1).astype(np.float32).astype(np.float64)


class _Scratch:
    """Memory for the image at hand, kept for the next: fresh pages cost more than the work in them.

    The resizer's sums and the image as float32 take turns in it: what needs the one is done with the other.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._source: NDArray[np.uint8] | None = None

    def as_float(self, image: NDArray[np.uint8]) -> Float32:
        """The image as float32, valid until the next image's, and until `bytes` is called."""
        if self._source is image:
            return self._memory[: 4 * image.size].view(np.float32).reshape(image.shape)
        pixels = self.bytes(4 * image.size)[: 4 * image.size].view(np.float32).reshape(image.shape)
        np.copyto(pixels, image)
        self._source = image
        return pixels

    def bytes(self, size: int) -> NDArray[np.uint8]:
        """At least `size` bytes, valid until anything is asked for again."""
        self._source = None
        if self._memory.size < size:
            self._memory = np.empty(0, np.uint8)  # first give back what is too small
            self._memory = np.empty(size, np.uint8)
        return self._memory

    def shrink(self) -> None:
        """Forget the image, and give back what only a huge one needs."""
        self._source = None
        if self._memory.nbytes > _KEPT_BYTES:
            self._memory = np.empty(0, np.uint8)
