"""Annotated pictures: faces shown by boxes, or hidden."""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from facet.annotations import Annotation
from facet.errors import ImageError
from facet.pictures.codec import Pixels

_GREEN = (0, 255, 0)
_JPEG_QUALITY = 92
_CELLS = 6
"""A hidden face keeps the mean colours of so many cells along its shorter side, and nothing else of it."""
_MARGIN = 0.2
"""Hair, ears and chin: a box is made larger by so much of its size on each side before it is hidden."""


class DrawnFace(Protocol):
    """What is drawn of a face: box [x, y, width, height] in pixels."""

    @property
    def confidence(self) -> float: ...
    @property
    def box(self) -> list[int]: ...


def annotated(pixels: Pixels, faces: Sequence[DrawnFace], annotation: Annotation) -> bytes:
    """A JPEG of the RGB picture with its faces shown or hidden; it has no metadata of the original."""
    canvas = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    if annotation is Annotation.BOXES:
        _draw_boxes(canvas, faces)
    elif annotation is not Annotation.NONE:
        for face in faces:
            _hide(canvas, face.box, smooth=annotation is Annotation.BLUR)
    return _encode_jpeg(canvas)


def _draw_boxes(canvas: Pixels, faces: Sequence[DrawnFace]) -> None:
    """A green box around each face, and its confidence beneath."""
    line = max(1, round(max(canvas.shape[:2]) / 600))
    for face in faces:
        x, y, width, height = face.box
        cv2.rectangle(canvas, (x, y), (x + width, y + height), _GREEN, line)
        label = f"P: {face.confidence:.4f}"
        scale = max(0.3, min(width / 110, 2.0))
        (_, text_height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        below = min(y + height + text_height + 4 * line, canvas.shape[0] - 2)
        cv2.putText(canvas, label, (x, below), cv2.FONT_HERSHEY_SIMPLEX, scale, _GREEN, line, cv2.LINE_AA)


def _hide(canvas: Pixels, box: Sequence[int], *, smooth: bool) -> None:
    """Put the mean colours of a few cells in the place of a face.

    A blur by a filter could be undone in part. Here either way of hiding leaves the same few colours, and one of them
    interpolates between them, and fades into the picture outside of the box.
    """
    x, y, width, height = box
    x_margin, y_margin = round(_MARGIN * width), round(_MARGIN * height)
    left, top = max(0, x - x_margin), max(0, y - y_margin)
    right, bottom = min(canvas.shape[1], x + width + x_margin), min(canvas.shape[0], y + height + y_margin)
    if right <= left or bottom <= top:
        return
    region = canvas[top:bottom, left:right]
    cell = max(1.0, min(region.shape[:2]) / _CELLS)
    columns, rows = (max(1, round(side / cell)) for side in (region.shape[1], region.shape[0]))
    means = cv2.resize(region, (columns, rows), interpolation=cv2.INTER_AREA)
    size = (region.shape[1], region.shape[0])
    if not smooth:
        region[:] = cv2.resize(means, size, interpolation=cv2.INTER_NEAREST)
        return
    hidden = cv2.resize(means, size, interpolation=cv2.INTER_CUBIC)
    across = _fade(right - left, x - left, x + width - left)
    down = _fade(bottom - top, y - top, y + height - top)
    weight = np.minimum.outer(down, across)[..., None]
    region[:] = np.rint(hidden * weight + region * (1 - weight)).astype(np.uint8)


def _fade(length: int, begin: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """1 from `begin` to `end`, and from there down towards 0 at both ends of the length."""
    at = np.arange(length, dtype=np.float32) + 0.5
    rising = at / max(begin, 1) if begin > 0 else np.ones_like(at)
    falling = (length - at) / max(length - end, 1) if end < length else np.ones_like(at)
    return np.clip(np.minimum(rising, falling), 0, 1).astype(np.float32)


def _encode_jpeg(canvas: Pixels) -> bytes:
    done, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ImageError("unencodable", "The annotated picture cannot be encoded as JPEG.")
    return data.tobytes()
