"""What every face detector offers, whatever runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

KEYPOINT_NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@dataclass(frozen=True, slots=True)
class DetectionParameters:
    """How one image is searched; the defaults are the reference's.

    `min_face_size` is in pixels of the image. `thresholds` are the confidences that a
    candidate must exceed after P-Net, R-Net and O-Net. `max_side`, in pixels, caps the
    longer side of the working copy of a huge image; boxes are always those of the image given.
    """

    min_face_size: int = 20
    scale_factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)
    max_side: int | None = None


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face: `box` is (x, y, width, height), `keypoints` maps `KEYPOINT_NAMES` to (x, y), in pixels."""

    confidence: float
    box: tuple[float, float, float, float]
    keypoints: dict[str, tuple[float, float]]


class Detector(Protocol):
    """Loaded once per process; safe to use from one thread at a time."""

    name: str
    version: str

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        parameters: Sequence[DetectionParameters] | None = None,
    ) -> list[list[DetectedFace]]:
        """Find the faces of each image, the most confident first.

        `images` are RGB arrays of shape (height, width, 3), of any sizes; `parameters` holds one entry
        per image, or is None for the defaults. Raises ValueError for an array of another shape or dtype.
        """
        ...
