import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facet.detector.mtcnn_boxes import by_confidence, clip_to_image, make_square, pyramid_scales, suppress

Boxes = NDArray[np.float64]


def naive_suppress(boxes: Boxes, threshold: float, overlap: str) -> Boxes:
    """Pair by pair; a dropped box drops others all the same."""

    def area(box: Boxes) -> float:
        return float((box[2] - box[0]) * (box[3] - box[1]))

    kept = []
    for j, b in enumerate(boxes):
        dropped = False
        for a in boxes[:j]:
            width = min(a[2], b[2]) - max(a[0], b[0])
            height = min(a[3], b[3]) - max(a[1], b[1])
            shared = max(0.0, width) * max(0.0, height)
            smaller = min(area(a), area(b))
            whole = area(a) + area(b) - shared if overlap == "union" else smaller
            dropped |= whole != 0 and shared / whole > threshold
        if not dropped:
            kept.append(b)
    return np.array(kept).reshape(-1, boxes.shape[1])


@st.composite
def sorted_boxes(draw: st.DrawFn) -> Boxes:
    """Boxes on a coarse grid, so that many coincide and touch; some are empty or inside out."""
    count = draw(st.integers(0, 90))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    low = rng.integers(0, draw(st.integers(2, 60)), (count, 2)).astype(float)
    size = rng.integers(-1, 12, (count, 2))
    return by_confidence(np.column_stack([low, low + size, rng.integers(0, 9, count) / 8]))


@settings(deadline=None, max_examples=60)
@given(sorted_boxes(), st.sampled_from([0.3, 0.5, 0.7]), st.sampled_from(["union", "min"]))
def test_suppression_is_the_naive_one(boxes: Boxes, threshold: float, overlap: str) -> None:
    found = suppress(boxes, threshold, overlap)  # type: ignore[arg-type]

    assert np.array_equal(found, naive_suppress(boxes, threshold, overlap))


@settings(deadline=None, max_examples=30)
@given(st.lists(sorted_boxes(), min_size=1, max_size=4))
def test_suppression_within_groups(boxes: list[Boxes]) -> None:
    groups = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])

    found = suppress(np.concatenate(boxes), 0.5, groups=groups)

    assert np.array_equal(found, np.concatenate([suppress(b, 0.5) for b in boxes]))


def test_suppression_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    low = rng.random((400, 2)) * 50
    boxes = by_confidence(np.column_stack([low, low + 5 + rng.random((400, 2)) * 20, rng.random(400)]))
    whole = suppress(boxes, 0.5)

    monkeypatch.setattr("facet.detector.mtcnn_boxes._PAIRS", 50)

    assert np.array_equal(suppress(boxes, 0.5), whole)


def test_a_suppressed_box_suppresses() -> None:
    """Greedy suppression would keep the third box: only the second, which goes, overlaps it enough."""
    boxes = np.array([[0, 0, 10, 10, 0.9], [3, 0, 13, 10, 0.8], [6, 0, 16, 10, 0.7]], np.float64)

    assert suppress(boxes, 0.5)[:, 4].tolist() == [0.9]


def test_squares_keep_their_centre() -> None:
    square = make_square(np.array([[10, 20, 14, 40, 0.5]], np.float64))

    assert square.tolist() == [[2, 20, 22, 40, 0.5]]


def test_boxes_end_on_the_last_pixel() -> None:
    clipped = clip_to_image(np.array([[-3, -4, 120, 90, 0.5]], np.float64), height=60, width=100)

    assert clipped.tolist() == [[0, 0, 99, 59, 0.5]]


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(6, 2000),
    st.floats(0.1, 0.95),
)
def test_no_level_is_too_small_for_p_net(height: int, width: int, min_face_size: int, factor: float) -> None:
    scales = pyramid_scales(height, width, min_face_size, factor)

    assert all(min(int(height * s), int(width * s)) >= 12 for s in scales)
    shorter = min(height, width) * 12 / min_face_size
    if shorter >= 12.1:  # and none that fits is left out
        assert shorter * factor ** len(scales) < 12.1
