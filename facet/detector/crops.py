"""Square crops for R-Net and O-Net, sampled as `tf.image.crop_and_resize` samples them."""

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_MID_GREY = (127.5, 127.5, 127.5)  # zero after the networks' normalisation
_OUTSIDE = np.float32(-10)


def crop_positions(boxes: NDArray[np.float64], height: int, width: int, side: int) -> tuple[Float32, Float32]:
    """Where the crops of n boxes are sampled in an image: columns and rows, (n, side) each.

    From the centres of a box's first to its last pixel. Coordinates are float32 and the roundings are TensorFlow's.
    """
    relative = (boxes[:, :4] / np.array([width, height, width, height], np.float64)).astype(np.float32)
    xs = _sample_positions(relative[:, 0], relative[:, 2], width, side)
    ys = _sample_positions(relative[:, 1], relative[:, 3], height, side)
    return xs, ys


def sample_crops(pixels: Float32, xs: Float32, ys: Float32, out: Float32) -> None:
    """Fill `out`, float32 (n, side, side, 3), with `pixels`, (height, width, 3), at the positions of n crops.

    Bilinear; a sample outside the image is mid-grey.
    """
    count, side, _, _ = out.shape
    # A picture with a crop in each row, so that one call samples them all; long rows suit it better than many.
    map_x = np.tile(xs, side)
    map_y = np.repeat(ys, side, axis=1)
    sampled = out.reshape(count, side * side, 3)
    cv2.remap(pixels, map_x, map_y, cv2.INTER_LINEAR, sampled, borderMode=cv2.BORDER_CONSTANT, borderValue=_MID_GREY)


def _sample_positions(low: Float32, high: Float32, size: int, side: int) -> Float32:
    """Positions along one axis, (n, side); those outside 0 ... size - 1 are moved well away."""
    last = np.float32(size - 1)
    step = (high - low) * last / np.float32(side - 1)
    positions = low[:, None] * last + np.arange(side, dtype=np.float32) * step[:, None]
    result: Float32 = np.where((positions < 0) | (positions > last), _OUTSIDE, positions)
    return result
