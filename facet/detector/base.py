"""What every face detector offers, whatever runs it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

KEYPOINT_NAMES = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

SMALLEST_FACE = 6
"""Faces under P-Net's window of 12 px need an enlarged image; twice its size is as far as that goes."""


@dataclass(frozen=True, slots=True)
class DetectionParameters:
    """How one image is searched; the defaults are the reference's.

    `min_face_size` is in pixels of the image. `scale_factor` is the ratio between neighbouring
    levels of the image pyramid. `thresholds` are the confidences that a candidate must exceed
    after P-Net, R-Net and O-Net. `max_side`, in pixels, caps the longer side of the working copy
    of a huge image; boxes are always those of the image given. `full_size`, (width, height), is given with an image
    that is a smaller copy of another: all pixels that are spoken of, boxes too, are then those of the other.

    Raises ValueError, naming the field, for a value that no search can use.
    """

    min_face_size: int = 20
    scale_factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.8)
    max_side: int | None = None
    full_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not (_is_number(self.min_face_size) and self.min_face_size >= SMALLEST_FACE):
            raise ValueError(f"min_face_size is {self.min_face_size!r}; give at least {SMALLEST_FACE} (pixels)")
        if not (_is_number(self.scale_factor) and 0.1 <= self.scale_factor <= 0.95):
            raise ValueError(f"scale_factor is {self.scale_factor!r}; give a number from 0.1 to 0.95")
        if len(self.thresholds) != 3 or not all(_is_number(t) and 0 < t < 1 for t in self.thresholds):
            raise ValueError(
                f"thresholds is {self.thresholds!r}; give three numbers between 0 and 1, for P-Net, R-Net and O-Net"
            )
        if self.max_side is not None and not (_is_number(self.max_side) and self.max_side >= 12):
            raise ValueError(f"max_side is {self.max_side!r}; give at least 12 (pixels), or None for no cap")


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face: `box` is (x, y, width, height), `keypoints` maps `KEYPOINT_NAMES` to (x, y), in pixels."""

    confidence: float
    box: tuple[float, float, float, float]
    keypoints: dict[str, tuple[float, float]]


class Detector(Protocol):
    """Loaded once per process; safe to use from one thread at a time.

    `name` is what `create_detector` knows it by. `version` changes when the same image may give
    other faces: with the weights or with the way they are applied.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        parameters: Sequence[DetectionParameters] | None = None,
    ) -> list[list[DetectedFace]]:
        """Find the faces of each image, the most confident first.

        `images` are RGB arrays of shape (height, width, 3), of any sizes; `parameters` holds one entry
        per image, or is None for the defaults. Raises ValueError for an array of another shape or
        dtype, and when the two sequences differ in length.
        """
        ...


def check_request(
    images: Sequence[NDArray[np.uint8]], parameters: Sequence[DetectionParameters] | None
) -> Sequence[DetectionParameters]:
    """Return the parameters of each image; raises ValueError as `Detector.detect` promises."""
    for index, image in enumerate(images):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            kind = getattr(image, "dtype", type(image).__name__)
            raise ValueError(f"images[{index}] is {kind}; give a NumPy array of uint8")
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"images[{index}] has the shape {image.shape}; give (height, width, 3), in RGB order")
    if parameters is None:
        return [DetectionParameters()] * len(images)
    if len(parameters) != len(images):
        raise ValueError(f"parameters has {len(parameters)} entries for {len(images)} images; give one each")
    return parameters


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
