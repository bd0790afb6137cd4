"""What every detector promises, on the default one."""

import re
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facet.detector import DETECTORS, DetectionParameters, Detector, create_detector
from facet.detector.mtcnn_cascade import Cascade

Image = NDArray[np.uint8]


def test_a_batch_finds_what_single_images_find(mtcnn: Detector, photos: list[Image], crowd: Image) -> None:
    images = [crowd, np.zeros((1, 1, 3), np.uint8), *photos, np.zeros((50, 60, 3), np.uint8), crowd]

    batch = mtcnn.detect(images)

    assert batch == [mtcnn.detect([image])[0] for image in images]
    assert batch[0] and batch[0] == batch[-1]


def test_each_image_has_its_own_parameters(mtcnn: Detector, crowd: Image) -> None:
    few = DetectionParameters(min_face_size=80)

    a, b, c = mtcnn.detect([crowd, crowd, crowd], [DetectionParameters(), few, DetectionParameters()])

    assert a == c == mtcnn.detect([crowd])[0]
    assert b == mtcnn.detect([crowd], [few])[0]
    assert 0 < len(b) < len(a)


def test_no_images(mtcnn: Detector) -> None:
    assert mtcnn.detect([]) == []


def test_most_confident_first_and_inside(mtcnn: Detector, crowd: Image) -> None:
    (faces,) = mtcnn.detect([crowd])

    assert len(faces) >= 3
    assert [f.confidence for f in faces] == sorted((f.confidence for f in faces), reverse=True)
    for face in faces:
        x, y, width, height = face.box
        assert x >= 0 and y >= 0 and x + width <= 899 and y + height <= 619
        assert set(face.keypoints) == {"left_eye", "right_eye", "nose", "mouth_left", "mouth_right"}
        assert face.keypoints["left_eye"][0] < face.keypoints["right_eye"][0]
        assert face.keypoints["nose"][1] < face.keypoints["mouth_left"][1]


def test_min_face_size_leaves_out_smaller_faces(mtcnn: Detector, crowd: Image) -> None:
    (everything,), (large,) = mtcnn.detect([crowd]), mtcnn.detect([crowd], [DetectionParameters(80)])

    assert min(f.box[3] for f in everything) < 20
    assert large and min(f.box[3] for f in large) > 40


def test_min_face_size_below_p_nets_window(mtcnn: Detector, photos: list[Image]) -> None:
    small = np.asarray(cv2.resize(photos[0], (44, 44), interpolation=cv2.INTER_AREA), np.uint8)

    assert mtcnn.detect([small], [DetectionParameters(min_face_size=6)])[0]


def test_thresholds_bound_the_confidences(mtcnn: Detector, crowd: Image) -> None:
    loose = DetectionParameters(thresholds=(0.3, 0.3, 0.1))
    strict = DetectionParameters(thresholds=(0.6, 0.7, 0.999))

    (many,), (few,) = mtcnn.detect([crowd], [loose]), mtcnn.detect([crowd], [strict])

    assert all(f.confidence > 0.1 for f in many) and all(f.confidence > 0.999 for f in few)
    assert len(many) > len(few) > 0
    assert min(f.confidence for f in many) < 0.8


def test_max_side_maps_boxes_back(mtcnn: Detector, photos: list[Image]) -> None:
    huge = np.asarray(cv2.resize(photos[0], None, fx=3, fy=2.5, interpolation=cv2.INTER_CUBIC), np.uint8)
    best = mtcnn.detect([huge])[0][0]

    capped = mtcnn.detect([huge], [DetectionParameters(max_side=400)])[0][0]

    side = max(best.box[2:])
    assert np.abs(np.subtract(best.box, capped.box)).max() < side * 0.15
    for name, point in best.keypoints.items():
        assert np.abs(np.subtract(point, capped.keypoints[name])).max() < side * 0.1


def test_max_side_keeps_min_face_size_in_pixels_of_the_image(mtcnn: Detector, crowd: Image) -> None:
    (faces,) = mtcnn.detect([crowd], [DetectionParameters(min_face_size=80, max_side=400)])

    assert faces and min(f.box[3] for f in faces) > 40


def test_sides_longer_than_opencv_samples(mtcnn: Detector, photos: list[Image]) -> None:
    long = np.zeros((160, 33_000, 3), np.uint8)
    long[:, -160:] = cv2.resize(photos[0], (160, 160), interpolation=cv2.INTER_AREA)

    (faces,) = mtcnn.detect([long])

    assert faces and all(f.box[0] > 32_840 for f in faces)


def test_an_image_changed_in_place_is_searched_anew(mtcnn: Detector, crowd: Image) -> None:
    image = crowd.copy()
    assert mtcnn.detect([image])[0]

    image[:] = crowd[:, ::-1]

    assert mtcnn.detect([image]) == mtcnn.detect([crowd[:, ::-1]])


def test_an_array_that_is_not_contiguous(mtcnn: Detector, crowd: Image) -> None:
    assert mtcnn.detect([crowd[:, ::-1]]) == mtcnn.detect([np.ascontiguousarray(crowd[:, ::-1])])


def test_strips_of_any_height_agree(mtcnn: Detector, crowd: Image) -> None:
    """P-Net's strips meet without a seam: one strip a level finds what many find."""
    import dataclasses

    assert isinstance(mtcnn, Cascade)
    one, many = (
        Cascade(dataclasses.replace(mtcnn._networks, strip_cells=cells, r_net_crops=crops, o_net_crops=crops))
        for cells, crops in ((10**9, 500), (300, 7))
    )
    for a, b in zip(one.detect([crowd])[0], many.detect([crowd])[0], strict=True):
        assert np.allclose(a.box, b.box, atol=1e-3) and abs(a.confidence - b.confidence) < 1e-5


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 5), np.uint8), "images[0] has the shape (5, 5)"),
        (np.zeros((5, 5, 4), np.uint8), "images[0] has the shape (5, 5, 4)"),
        (np.zeros((0, 5, 3), np.uint8), "images[0] has the shape (0, 5, 3)"),
        (np.zeros((5, 5, 3), np.float32), "images[0] is float32"),
        ([[[0, 0, 0]]], "images[0] is list"),
    ],
)
def test_what_is_no_image_is_refused(mtcnn: Detector, image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        mtcnn.detect([image])


def test_parameters_must_be_as_many_as_images(mtcnn: Detector, crowd: Image) -> None:
    with pytest.raises(ValueError, match="2 entries for 1 images"):
        mtcnn.detect([crowd], [DetectionParameters()] * 2)


@pytest.mark.parametrize(
    "bad",
    [
        {"min_face_size": 5},
        {"min_face_size": float("nan")},
        {"min_face_size": True},
        {"scale_factor": 1.0},
        {"scale_factor": 0},
        {"thresholds": (0.6, 0.7)},
        {"thresholds": (0.6, 0.7, 1.0)},
        {"thresholds": (0.6, "x", 0.8)},
        {"max_side": 11},
        {"max_side": 0},
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} is .*; give "):
        DetectionParameters(**bad)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no detector is called 'yolo'; known are: mtcnn, mtcnn-opencv"):
        create_detector("yolo")
    with pytest.raises(ValueError, match="threads is 0"):
        create_detector("mtcnn", threads=0)


def test_names_and_versions(mtcnn: Detector, opencv: Detector, reference: Detector) -> None:
    assert [d.name for d in (mtcnn, opencv, reference)] == list(DETECTORS)
    assert re.fullmatch(r"1\+[0-9a-f]{12}", mtcnn.version)
    assert mtcnn.version == opencv.version == create_detector("mtcnn").version
    assert reference.version.startswith("1.0.0+")


def test_the_default_detector_loads_nothing_it_does_not_need() -> None:
    program = """
import sys
import numpy as np
from facet.detector import create_detector
create_detector().detect([np.zeros((40, 40, 3), np.uint8)])
heavy = {"tensorflow", "keras", "mtcnn", "joblib", "lz4", "onnx", "pydantic", "sqlalchemy", "fastapi", "prefect"}
print(sorted((heavy | {"tools"}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["tensorflow", "mtcnn"])
def test_the_reference_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed

    with pytest.raises(ImportError, match=rf"needs {package}: install facet\[tensorflow\]"):
        create_detector("mtcnn-tensorflow")
