"""Average precision at IoU 0.5 and recall by face size, on WIDER FACE's labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detector.engines import Rows

LEVELS = ("easy", "medium", "hard")
SIZES = ((0, 20), (20, 40), (40, 80), (80, 160), (160, 10_000))
"""Face heights, in pixels, from and below."""

_IOU = 0.5


def average_precisions(found: Mapping[str, Rows], labels: Mapping[str, dict[str, Any]]) -> list[float]:
    """AP for easy, medium and hard; `found` maps images to rows sorted by confidence."""
    return [_average_precision(found, labels, level) for level in LEVELS]


def recall_by_size(found: Mapping[str, Rows], labels: Mapping[str, dict[str, Any]]) -> list[tuple[int, float]]:
    """For each of SIZES the number of labelled faces and the part of them found."""
    heights: list[float] = []
    hits: list[bool] = []
    for image, rows in found.items():
        faces = np.array(labels[image]["faces"], np.float64).reshape(-1, 4)
        heights += faces[:, 3].tolist()
        hits += [bool(column.any()) for column in (_iou(rows, faces) >= _IOU).T]
    height, hit = np.array(heights), np.array(hits)
    selections = [(height >= low) & (height < high) for low, high in SIZES]
    return [(int(s.sum()), float(hit[s].mean()) if s.any() else 0.0) for s in selections]


def precision_and_recall(found: Mapping[str, Rows], labels: Mapping[str, dict[str, Any]]) -> tuple[float, float]:
    """The part of all boxes that is right, and of all faces that is found; boxes on ignored faces do not count."""
    _, hits, wanted = _matches(found, labels, "hard")
    return (sum(hits) / len(hits) if hits else 1.0), sum(hits) / wanted


def _average_precision(found: Mapping[str, Rows], labels: Mapping[str, dict[str, Any]], level: str) -> float:
    scores, hits, wanted = _matches(found, labels, level)
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], right / wanted])
    return float((np.diff(recall) * precision).sum())


def _matches(
    found: Mapping[str, Rows], labels: Mapping[str, dict[str, Any]], level: str
) -> tuple[list[float], list[bool], int]:
    """Each box's confidence, and whether it is on a face of the level that no other has; and how many there are."""
    scores: list[float] = []
    hits: list[bool] = []
    wanted = 0
    for image, rows in found.items():
        label = labels[image]
        faces = np.array(label["faces"] + label["ignore"], np.float64).reshape(-1, 4)
        counts = np.array(
            [level == "hard" or bool(a[level]) for a in label["attrs"]] + [False] * len(label["ignore"]), bool
        )
        wanted += int(counts.sum())
        if not len(rows):
            continue
        overlaps = _iou(rows, faces)
        taken = np.zeros(len(faces), bool)
        for row, overlap in zip(rows, overlaps, strict=True):
            best = int(overlap.argmax()) if len(faces) else -1
            matched = best >= 0 and overlap[best] >= _IOU
            if matched and not counts[best]:
                continue  # on a face to be ignored: neither right nor wrong
            hit = bool(matched and not taken[best])  # a second box on the same face is wrong
            if matched:
                taken[best] = True
            scores.append(row[4])
            hits.append(hit)
    return scores, hits, wanted


def _iou(rows: Rows, faces: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of each row's corners with each face's (x, y, width, height): (rows, faces)."""
    low = np.maximum(rows[:, None, :2], faces[None, :, :2])
    high = np.minimum(rows[:, None, 2:4], faces[None, :, :2] + faces[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    own = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
    overlap: NDArray[np.float64] = shared / (own[:, None] + faces[:, 2:].prod(1)[None] - shared)
    return overlap
