"""P-Net and R-Net in two steps: an 8-bit screen for everything, and the exact rest for what it leaves.

All but one in a hundred of P-Net's cells, and nine in ten of R-Net's crops, are far from being a face. Their logits
need not be known, only be known to be too low, and for that an 8-bit estimate does. What it puts within a margin of
the least logit asked for, and all that has left the 8 bits' range, goes through the exact rest of the network.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facet.detector.mtcnn_graphs import R_NET_OUTPUTS, R_NET_SIDE, p_net_tail, r_net_tail
from facet.detector.mtcnn_screen_steps import P_NET_FEATURES, R_NET_FEATURES
from facet.detector.mtcnn_screens import p_net_screen, r_net_screen
from facet.detector.weights import load_weights

Float32 = NDArray[np.float32]
Indices = NDArray[np.intp]
Load = Callable[[bytes], Callable[[Float32], list[NDArray[Any]]]]
"""Makes a function, from the input to the list of outputs, of an ONNX model."""

P_NET_MARGIN = 1.3
R_NET_MARGIN = 1.7
"""How far an estimated logit may be below the exact one. Of the 624 thousand cells and 10 thousand crops of 219 photos
that reach the default thresholds, or come within 1 of them, none is further below than 0.87 and 1.19; the standard
deviations are 0.16 and 0.25.
"""

_CROPS = 32  # that R-Net's screen takes at a time, so that its maps stay in the cache


class ScreenedPNet:
    """P-Net over a strip of a level, as `mtcnn_cascade.Networks` describes it."""

    def __init__(self, load: Load) -> None:
        weights = load_weights("pnet")
        self._screen = load(p_net_screen(weights))
        self._tail = load(p_net_tail(weights, P_NET_FEATURES))

    def __call__(self, strip: Float32, least: float) -> tuple[Indices, Float32]:
        features, units, sums, logits = self._screen(strip.reshape(1, 1, len(strip), -1))
        close = logits >= np.float32(least - P_NET_MARGIN)
        if _leaves_range(units):
            # A cell's features are its own and those of the eight around it.
            close |= cv2.dilate(_extreme(units[0], -1), np.ones((3, 3)))[1:-1, 1:-1].reshape(-1) > 0
        if _leaves_range(sums):
            close |= _extreme(sums[0], -1).reshape(-1) > 0
        likely = np.flatnonzero(close)
        _, height, width, channels = features.shape
        rows, columns = np.divmod(likely, width - 2)
        # Of a 3x3 neighbourhood, each row's 3 x 16 features lie together.
        row, column, channel = features.strides[1:]
        neighbourhoods: Float32 = np.ndarray(
            (height - 2, width - 2, 3, 3 * channels), np.float32, features, strides=(row, column, row, channel)
        )
        scores = self._tail(neighbourhoods[rows, columns].reshape(likely.size, 9 * channels))[0]
        return np.stack([rows, columns]), scores.T


class ScreenedRNet:
    """R-Net over crops, as `mtcnn_cascade.Networks` describes it."""

    def __init__(self, load: Load) -> None:
        weights = load_weights("rnet")
        self._screen = load(r_net_screen(weights))
        self._tail = load(r_net_tail(weights, R_NET_FEATURES))

    def __call__(self, crops: Float32, least: float) -> Float32:
        likely = np.zeros(len(crops), np.bool_)
        kept = []
        for start in range(0, len(crops), _CROPS):
            part = slice(start, start + _CROPS)
            features, *units, logits = self._screen(crops[part].reshape(-1, 1, R_NET_SIDE, 3 * R_NET_SIDE))
            likely[part] = logits[:, 0] >= np.float32(least - R_NET_MARGIN)
            for u in units:
                if _leaves_range(u):
                    likely[part] |= _extreme(u, (1, 2, 3)) > 0
            kept.append(features[likely[part]])
        scores = np.zeros((len(crops), R_NET_OUTPUTS), np.float32)
        scores[:, 4] = -np.inf
        scores[likely] = self._tail(np.concatenate(kept))[0]
        return scores


def _leaves_range(units: NDArray[np.uint8]) -> bool:
    least, largest, _, _ = cv2.minMaxLoc(units.reshape(1, -1))
    return least == 0 or largest == 255


def _extreme(units: NDArray[np.uint8], axis: int | tuple[int, ...]) -> NDArray[np.uint8]:
    """1 where any unit along the axes is at an end of its 8 bits."""
    extreme: NDArray[np.uint8] = ((units == 0) | (units == 255)).any(axis).astype(np.uint8)
    return extreme
