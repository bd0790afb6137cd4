"""Square crops for R-Net and O-Net, sampled as `tf.image.crop_and_resize` samples them."""

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_MID_GREY = (127.5, 127.5, 127.5)  # zero after the networks' normalisation
_OUTSIDE = np.float32(-10)


def sample_crops(pixels: Float32, boxes: NDArray[np.float64], out: Float32) -> None:
    """Fill `out`, float32 (n, 3, side, side), with the contents of n boxes of `pixels`, (height, width, 3).

    Bilinear, from the centres of a box's first to its last pixel; a sample outside the image is mid-grey.
    Coordinates are float32 and the roundings are TensorFlow's.
    """
    height, width = pixels.shape[:2]
    count, _, side, _ = out.shape
    relative = (boxes[:, :4] / np.array([width, height, width, height], np.float64)).astype(np.float32)
    xs = _sample_positions(relative[:, 0], relative[:, 2], width, side)
    ys = _sample_positions(relative[:, 1], relative[:, 3], height, side)
    # One tall picture of all crops, so that one call samples them all.
    grid = (count, side, side)
    map_x = np.ascontiguousarray(np.broadcast_to(xs[:, None, :], grid)).reshape(-1, side)
    map_y = np.ascontiguousarray(np.broadcast_to(ys[:, :, None], grid)).reshape(-1, side)
    sampled = cv2.remap(pixels, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_MID_GREY)
    out[...] = sampled.reshape(count, side, side, 3).transpose(0, 3, 1, 2)


def _sample_positions(low: Float32, high: Float32, size: int, side: int) -> Float32:
    """Positions along one axis, (n, side); those outside 0 ... size - 1 are moved well away."""
    last = np.float32(size - 1)
    step = (high - low) * last / np.float32(side - 1)
    positions = low[:, None] * last + np.arange(side, dtype=np.float32) * step[:, None]
    result: Float32 = np.where((positions < 0) | (positions > last), _OUTSIDE, positions)
    return result
