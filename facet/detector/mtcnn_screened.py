"""P-Net and R-Net in two steps: an 8-bit screen for everything, and the exact rest for what it leaves.

All but one in a hundred of P-Net's cells, and nine in ten of R-Net's crops, are no face. Their logits need not be
known, only be known to be too low, and for that an 8-bit screen does. What it does not rule out, and all that has left
the 8 bits' range, goes through the exact rest of the network.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facet.detector.mtcnn_cascade import cells_that_reach
from facet.detector.mtcnn_models import P_NET_LEAST, R_NET_OUTPUTS, R_NET_SIDE, read_model

Float32 = NDArray[np.float32]
Indices = NDArray[np.intp]
Load = Callable[[bytes], Callable[[Float32], list[NDArray[Any]]]]
"""Makes a function, from the input to the list of outputs, of an ONNX model."""

R_NET_MARGIN = 1.7
"""How far an estimated logit may be below the exact one. Of 63 thousand crops that reach the default threshold, or come
within 1 of it, in photos and altered copies of them, none is further below than 1.54; the standard deviation is 0.27.
"""

_ENDS = (0, 255)
_CROPS = 32  # that R-Net's screen takes at a time, so that its maps stay in the cache


class ScreenedPNet:
    """P-Net over a strip of a level, as `mtcnn_cascade.Networks` describes it."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._screen = load(read_model("p_net_screen"))
        self._tail = load(read_model("p_net_tail"))
        self._whole_model = read_model("p_net")  # at once, so that its absence is noticed at the start

    @cached_property
    def _whole(self) -> Callable[[Float32], list[NDArray[Any]]]:
        """P-Net without a screen."""
        return self._load(self._whole_model)

    def __call__(self, strip: Float32, least: float) -> tuple[Indices, Float32]:
        pixels = strip.reshape(1, 1, len(strip), -1)
        if least < P_NET_LEAST:
            return cells_that_reach(self._whole(pixels)[0][0], least)
        features, units, hidden, close = self._screen(pixels)
        if _leaves_range(units, _ENDS):
            # A cell's features are its own and those of the eight around it.
            extreme = _at_the_ends(units[0], -1, _ENDS).astype(np.uint8)
            close |= cv2.dilate(extreme, np.ones((3, 3)))[1:-1, 1:-1].reshape(-1) > 0
        if _leaves_range(hidden, (255,)):
            close |= _at_the_ends(hidden[0], -1, (255,)).reshape(-1)
        likely = np.flatnonzero(close)
        scores: Float32 = self._tail(_neighbourhoods(features[0], likely))[0]
        return likely, scores


def _neighbourhoods(features: Float32, cells: Indices) -> Float32:
    """The features, (height, width, channels), of n cells, counted row by row, and the eight around each."""
    _, width, channels = features.shape
    corners = cells + 2 * (cells // (width - 2))
    around = np.add.outer(np.arange(3) * width, np.arange(3)).reshape(-1)
    found: Float32 = features.reshape(-1, channels).take(np.add.outer(corners, around), axis=0)
    return found.reshape(cells.size, 9 * channels)


class ScreenedRNet:
    """R-Net over crops, as `mtcnn_cascade.Networks` describes it."""

    def __init__(self, load: Load) -> None:
        self._screen = load(read_model("r_net_screen"))
        self._tail = load(read_model("r_net_tail"))

    def __call__(self, crops: Float32, least: float) -> Float32:
        likely = np.zeros(len(crops), np.bool_)
        kept = []
        for start in range(0, len(crops), _CROPS):
            part = slice(start, start + _CROPS)
            features, *units, logits = self._screen(crops[part].reshape(-1, 1, R_NET_SIDE, 3 * R_NET_SIDE))
            likely[part] = logits[:, 0] >= np.float32(least - R_NET_MARGIN)
            for u in units:
                if _leaves_range(u, _ENDS):
                    likely[part] |= _at_the_ends(u, (1, 2, 3), _ENDS)
            kept.append(features[likely[part]])
            del features, units, logits  # so that those of the next crops take their place, and the cache's
        scores = np.zeros((len(crops), R_NET_OUTPUTS), np.float32)
        scores[:, 4] = -np.inf
        scores[likely] = self._tail(np.concatenate(kept))[0]
        return scores


def _leaves_range(units: NDArray[np.uint8], ends: Sequence[int]) -> bool:
    least, largest, _, _ = cv2.minMaxLoc(units.reshape(1, -1))
    return least in ends or largest in ends


def _at_the_ends(units: NDArray[np.uint8], axis: int | tuple[int, ...], ends: Sequence[int]) -> NDArray[np.bool_]:
    """Whether any unit along the axes is at one of these ends of the 8 bits' range."""
    return np.asarray(np.isin(units, ends, kind="table").any(axis), np.bool_)
