"""`max_side`: search a smaller copy of a huge image and give the boxes of the image itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facet.detector.base import KEYPOINT_NAMES, DetectedFace, DetectionParameters

LONGEST_SIDE = 32_000
"""OpenCV samples images of up to 32766 px a side; a longer one is searched on a smaller copy."""


@dataclass(frozen=True, slots=True)
class WorkingImage:
    """What is searched: `pixels` (height, width, 3), uint8, and `min_face_size` in its own pixels.

    `scale_x` and `scale_y` lead from the pixels of the working image to those of the image given.
    """

    pixels: NDArray[np.uint8]
    min_face_size: float
    scale_x: float
    scale_y: float


def working_image(image: NDArray[np.uint8], parameters: DetectionParameters) -> WorkingImage:
    """Return the image itself, or its area-averaged copy where it exceeds `max_side`."""
    width, height = parameters.full_size or image.shape[1::-1]
    limit = min(parameters.max_side or LONGEST_SIDE, LONGEST_SIDE)
    longer = max(height, width)
    if longer <= limit and parameters.full_size is None:
        return WorkingImage(image, parameters.min_face_size, 1.0, 1.0)
    shrink = min(limit, max(image.shape)) / longer
    new_width, new_height = max(1, round(width * shrink)), max(1, round(height * shrink))
    pixels = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
    return WorkingImage(
        pixels.astype(np.uint8, copy=False),
        parameters.min_face_size * shrink,
        width / new_width,
        height / new_height,
    )


def to_faces(rows: NDArray[np.float64], working: WorkingImage) -> list[DetectedFace]:
    """Turn rows (x1, y1, x2, y2, confidence, five x, five y) of the working image into faces of the image."""
    scaled = rows.copy()
    scaled[:, [0, 2, *range(5, 10)]] *= working.scale_x
    scaled[:, [1, 3, *range(10, 15)]] *= working.scale_y
    return [_to_face(row) for row in scaled.tolist()]


def _to_face(row: Sequence[float]) -> DetectedFace:
    x1, y1, x2, y2, confidence = row[:5]
    points = zip(row[5:10], row[10:15], strict=True)
    return DetectedFace(confidence, (x1, y1, x2 - x1, y2 - y1), dict(zip(KEYPOINT_NAMES, points, strict=True)))
