"""The box arithmetic of MTCNN's cascade, in float64 and in the order of the reference's operations.

A box is a row (x1, y1, x2, y2, confidence, ...) in pixels of the image.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Indices = NDArray[np.intp]

CONFIDENCE = 4
"""Column of the confidence; the corners are before it, the landmarks (five x, then five y) after it."""

P_NET_WINDOW, P_NET_STRIDE = 12, 2

_SMALLEST_LEVEL = P_NET_WINDOW * 0.6 / 0.709**1.5
"""12.06 px: with the default parameters, the shorter side at which the reference's rounding stops."""

_FEW, _PAIRS = 48, 1 << 18


def pyramid_scales(height: int, width: int, min_face_size: float, scale_factor: float) -> Float64:
    """Return the scales at which an image is searched, the largest first; none for a tiny image.

    The first one brings a face of `min_face_size` pixels to P-Net's window of 12. With the default
    parameters these are the reference's; with others the reference runs past the window, or stops
    early, because it counts the levels without looking at `min_face_size`.
    """
    first = P_NET_WINDOW / min_face_size
    shorter = min(height, width) * first
    if shorter < _SMALLEST_LEVEL:
        return np.empty(0)
    count = int(np.log(_SMALLEST_LEVEL / shorter) / np.log(scale_factor)) + 1
    return np.asarray(first * scale_factor ** np.arange(count), np.float64)


def sigmoid(logits: Float32) -> Float32:
    """The softmax of two classes from the difference of their scores.

    In float32 on purpose: confidences saturate to equal values, and the order of equal ones, which
    non-maximum suppression depends on, must come out as in the reference.
    """
    with np.errstate(over="ignore"):
        result: Float32 = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return result


def by_confidence(boxes: Float64) -> Float64:
    """Sort boxes, the most confident first; equal ones fall as in the reference, which sorts like this."""
    return boxes[np.argsort(boxes[:, CONFIDENCE])[::-1]]


def make_square(boxes: Float64) -> Float64:
    """Widen each box about its centre to a square of its longer side."""
    boxes = boxes.copy()
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    side = np.maximum(width, height)
    boxes[:, 0] = boxes[:, 0] + width * 0.5 - side * 0.5
    boxes[:, 1] = boxes[:, 1] + height * 0.5 - side * 0.5
    boxes[:, 2:4] = boxes[:, 0:2] + side[:, None]
    return boxes


def box_sizes(boxes: Float64) -> Float64:
    """Widths and heights, (n, 2), counted as R-Net and O-Net were trained: with both corner pixels."""
    return boxes[:, 2:4] - boxes[:, 0:2] + 1


def refine(boxes: Float64, regressions: Float32, confidences: Float32) -> Float64:
    """Shift the corners by regressions in box sizes and set the confidences; drops further columns."""
    corners = boxes[:, :4] + regressions * np.tile(box_sizes(boxes), 2)
    return np.column_stack([corners, confidences])


def suppress(
    boxes: Float64, threshold: float, overlap: Literal["union", "min"] = "union", groups: Indices | None = None
) -> Float64:
    """Non-maximum suppression, of the reference's kind, over boxes sorted by confidence.

    A box goes when any more confident one overlaps it by more than `threshold`, even one that goes
    itself: unlike the usual greedy kind, which lets only survivors suppress. `overlap` is the
    intersection over the union or over the smaller box's area. With `groups`, a number from 0 for
    each box, only boxes of one group meet, and only within each must they be sorted.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[:, :4].T)
    areas = (x2 - x1) * (y2 - y1)
    dropped = np.zeros(len(boxes), bool)
    if groups is None:
        groups = np.zeros(len(boxes), np.intp)
    # The union is no smaller than either box, so their overlap fills more than `threshold` of both widths and heights.
    share = threshold * (1 - 1e-9) if overlap == "union" else 0.0
    for i, j in _candidate_pairs(boxes, groups, share):
        width = np.minimum(x2[i], x2[j]) - np.maximum(x1[i], x1[j])
        height = np.minimum(y2[i], y2[j]) - np.maximum(y1[i], y1[j])
        shared = np.maximum(0, width) * np.maximum(0, height)
        whole = areas[i] + areas[j] - shared if overlap == "union" else np.minimum(areas[i], areas[j])
        with np.errstate(divide="ignore", invalid="ignore"):  # empty boxes overlap nothing
            hit = shared / whole > threshold
        dropped[np.maximum(i[hit], j[hit])] = True
    return boxes[~dropped]


def _candidate_pairs(boxes: Float64, groups: Indices, share: float) -> Iterator[tuple[Indices, Indices]]:
    """Yield index pairs, in portions, that hold every pair of boxes of one group which overlap by `share` of each side.

    Few boxes: all pairs. Many: each with those whose left edge lies early enough within its width, by a
    sweep over the sorted left edges, of which only the ones that overlap enough vertically are kept.
    """
    count = len(boxes)
    if count <= _FEW:
        i, j = np.triu_indices(count, 1)
        same = groups[i] == groups[j]
        yield i[same], j[same]
        return
    # Side by side, the groups are too far apart to meet.
    aside = groups * (boxes[:, 2].max() - boxes[:, 0].min() + 1)
    order = np.argsort(boxes[:, 0] + aside, kind="stable")
    latest = boxes[:, 2] - share * (boxes[:, 2] - boxes[:, 0])
    ends = np.searchsorted((boxes[:, 0] + aside)[order], (latest + aside)[order], "left")
    partners = np.maximum(ends - np.arange(count) - 1, 0)
    total = np.concatenate([[0], np.cumsum(partners)])
    tops, bottoms = np.ascontiguousarray(boxes[:, [1, 3]].T)
    heights = share * (bottoms - tops)
    start = 0
    while start < count:
        stop = max(int(np.searchsorted(total, total[start] + _PAIRS, "right")) - 1, start + 1)
        stop = min(stop, count)
        here = partners[start:stop]
        first = np.repeat(np.arange(start, stop), here)
        nth = np.arange(int(here.sum())) - np.repeat(total[start:stop] - total[start], here)
        i, j = order[first], order[first + nth + 1]
        common = np.minimum(bottoms[i], bottoms[j]) - np.maximum(tops[i], tops[j])
        meet = common > np.maximum(heights[i], heights[j])
        yield i[meet], j[meet]
        start = stop


def clip_to_image(boxes: Float64, height: int, width: int) -> Float64:
    """Move corners outside the image onto its first or last pixel, as the reference does."""
    boxes = boxes.copy()
    boxes[:, [0, 2]] = np.clip(boxes[:, [0, 2]], 0, width - 1)
    boxes[:, [1, 3]] = np.clip(boxes[:, [1, 3]], 0, height - 1)
    return boxes
