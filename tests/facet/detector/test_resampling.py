"""Resizing and cropping against their definitions."""

import numpy as np
import pytest
from numpy.typing import NDArray

from facet.detector.area_resize import AreaResizer
from facet.detector.crops import crop_positions, sample_crops


def shares(size: int, new_size: int) -> NDArray[np.float64]:
    """The part of each new pixel that each old pixel covers, (new_size, size)."""
    edges = np.arange(new_size + 1) * size / new_size
    overlap = np.minimum(edges[1:, None], np.arange(size) + 1) - np.maximum(edges[:-1, None], np.arange(size))
    result: NDArray[np.float64] = np.clip(overlap, 0, 1) * new_size / size
    return result


@pytest.mark.parametrize(
    ("size", "new_size"),
    [
        ((90, 70), (54, 42)),
        ((90, 70), (13, 12)),
        ((90, 70), (90, 70)),
        ((801, 40), (240, 12)),
        ((3200, 24), (1600, 12)),
    ],
)
@pytest.mark.parametrize("white", [False, True])
def test_area_resize_is_the_mean_over_each_area(
    size: tuple[int, int], new_size: tuple[int, int], white: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facet.detector.area_resize._BLOCK", 3 * size[1] * 5)  # five rows at a time
    image = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)
    if white:
        image[:] = 255  # the largest sums
    resizer = AreaResizer(image, np.empty(AreaResizer.scratch_size(image), np.uint8))
    out = resizer.resize(*new_size)

    rows, columns = shares(size[0], new_size[0]), shares(size[1], new_size[1])
    expected = np.einsum("yi,xj,ijc->yxc", rows, columns, image, optimize=True)
    assert np.abs(out - expected).max() < 1e-3


def test_area_resize_of_cells_beyond_16_bits() -> None:
    image = np.full((12 * 260, 12 * 260, 3), 255, np.uint8)
    resizer = AreaResizer(image, np.empty(AreaResizer.scratch_size(image), np.uint8))

    out = resizer.resize(12, 12)

    assert np.abs(out - 255).max() < 1e-2


def test_crops_are_bilinear_samples_on_mid_grey() -> None:
    height, width, side = 40, 30, 24
    pixels = np.random.default_rng(4).integers(0, 256, (height, width, 3)).astype(np.float32)
    boxes = np.array([[3.2, 5.1, 20.7, 22.6], [-6.5, 30.0, 15.0, 51.5], [28.0, -20.0, 68.0, 20.0]])
    out = np.empty((3, side, side, 3), np.float32)

    sample_crops(pixels, *crop_positions(boxes, height, width, side), out)

    for box, crop in zip(boxes, out, strict=True):
        xs = (box[0] + np.arange(side) * (box[2] - box[0]) / (side - 1)) * (width - 1) / width
        ys = (box[1] + np.arange(side) * (box[3] - box[1]) / (side - 1)) * (height - 1) / height
        for row, y in enumerate(ys):
            for column, x in enumerate(xs):
                expected = np.full(3, 127.5)
                if 0 <= x <= width - 1 and 0 <= y <= height - 1:
                    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
                    u, v = x - x0, y - y0
                    near = pixels[y0 : y0 + 2, x0 : x0 + 2]
                    expected = (near[0, 0] * (1 - u) + near[0, 1] * u) * (1 - v)
                    expected += (near[1, 0] * (1 - u) + near[1, 1] * u) * v
                assert np.abs(crop[row, column] - expected).max() < 0.05
