"""The detectors against the `mtcnn` package itself: same faces, to within 1 px, 2 px and 1e-3."""

import importlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facet.detector import KEYPOINT_NAMES, DetectedFace, DetectionParameters, Detector
from facet.detector.mtcnn_boxes import pyramid_scales

Image = NDArray[np.uint8]


def assert_same_faces(expected: list[DetectedFace], found: list[DetectedFace]) -> None:
    assert len(found) == len(expected)
    for a in expected:
        b = min(found, key=lambda face: np.abs(np.subtract(face.box, a.box)).max())
        assert np.abs(np.subtract(a.box, b.box)).max() <= 1
        points = [np.subtract(a.keypoints[name], b.keypoints[name]) for name in KEYPOINT_NAMES]
        assert np.abs(points).max() <= 2
        assert abs(a.confidence - b.confidence) <= 1e-3


def scaled(image: Image, factor: float) -> Image:
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=method), np.uint8)


@pytest.fixture(scope="module")
def pictures(photos: list[Image], crowd: Image) -> list[Image]:
    return [
        *photos,
        crowd,
        scaled(photos[0], 0.37),
        scaled(photos[0], 1.9)[:, :301],
        np.ascontiguousarray(crowd.transpose(1, 0, 2)),
    ]


def test_faces_are_the_references(reference: Detector, mtcnn: Detector, pictures: list[Image]) -> None:
    expected, found = reference.detect(pictures), mtcnn.detect(pictures)

    assert sum(map(len, expected)) >= 5
    for a, b in zip(expected, found, strict=True):
        assert_same_faces(a, b)


def test_the_reference_engine_is_the_package(reference: Detector, crowd: Image) -> None:
    """Its wrapper changes nothing for the default parameters."""
    package = importlib.import_module("mtcnn").MTCNN()

    expected = package.detect_faces(crowd)
    (found,) = reference.detect([crowd])

    assert len(found) == len(expected) > 0
    for a, b in zip(expected, found, strict=True):
        assert b.confidence == a["confidence"]
        assert np.abs(np.subtract(a["box"], b.box)).max() <= 0.5 + 1e-9  # the package rounds to pixels
        for name in KEYPOINT_NAMES:
            assert np.abs(np.subtract(a["keypoints"][name], b.keypoints[name])).max() <= 0.5 + 1e-9


def test_opencv_finds_the_same(mtcnn: Detector, opencv: Detector, pictures: list[Image]) -> None:
    for a, b in zip(mtcnn.detect(pictures), opencv.detect(pictures), strict=True):
        assert_same_faces(a, b)


@pytest.mark.parametrize(
    "parameters",
    [
        DetectionParameters(min_face_size=12),
        DetectionParameters(min_face_size=60),
        DetectionParameters(scale_factor=0.85),
        DetectionParameters(scale_factor=0.5),
        DetectionParameters(thresholds=(0.5, 0.6, 0.6)),
        DetectionParameters(max_side=300),
    ],
    ids=str,
)
def test_other_parameters_agree_too(
    reference: Detector, mtcnn: Detector, crowd: Image, parameters: DetectionParameters
) -> None:
    (expected,), (found,) = reference.detect([crowd], [parameters]), mtcnn.detect([crowd], [parameters])

    assert expected
    assert_same_faces(expected, found)


@pytest.mark.parametrize("size", [(1, 1), (11, 11), (12, 12), (13, 12), (40, 13), (14, 900), (700, 14), (25, 31)])
def test_sizes_at_the_edge(reference: Detector, mtcnn: Detector, size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)

    assert_same_faces(*reference.detect([image]), *mtcnn.detect([image]))


def test_pyramid_is_the_references() -> None:
    build = importlib.import_module("mtcnn.utils.images").build_scale_pyramid

    for side in range(12, 4100):
        expected = build(side + 7, side, 20, 0.709)
        assert np.array_equal(pyramid_scales(side, side + 7, 20, 0.709), expected), side
