"""Area-averaging of one image to many sizes, a few rows at a time.

Every level of MTCNN's pyramid is the mean over the pixels, and fractions of pixels, that each of its
own pixels covers. `cv2.resize(..., INTER_AREA)` gives the same numbers, but walks the whole source
for each level, one multiplication at a time. Here sums down the columns are made once; a level's rows
are then differences of two of them, and only these few rows are left to `cv2.resize`.
"""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_BLOCK = 1 << 17  # floats handled at a time, so that the passes over them stay in the cache

_LONGEST_CELL = 257
"""Rows of pixels up to 255 whose sum fits 16 bits."""


class AreaResizer:
    """Resizes `image`, uint8 (height, width, 3), to sizes whose shorter side is at least 12.

    `scratch` is bytes to work in, at least `scratch_size(image)`, which the resizer goes on using.
    """

    def __init__(self, image: NDArray[np.uint8], scratch: NDArray[np.uint8]) -> None:
        self._height, self._width = image.shape[:2]
        self._rows = image.reshape(self._height, -1)
        shape = (self._height + 1, self._rows.shape[1])
        used = scratch[: self.scratch_size(image)]
        # The sums run over, but a difference of two is exact as long as it fits itself.
        self._sums = used.view(_sum_type(image)).reshape(shape)
        self._sums[0] = 0
        self._sums[1:] = self._rows
        # Row by row: np.cumsum along the first axis is ten times slower.
        for before, row in pairwise(self._sums):
            np.add(before, row, out=row)

    @staticmethod
    def scratch_size(image: NDArray[np.uint8]) -> int:
        """Bytes of scratch space that an image needs."""
        height, width = image.shape[:2]
        size: int = (height + 1) * width * 3 * np.dtype(_sum_type(image)).itemsize
        return size

    def resize(self, height: int, width: int) -> Float32:
        """Return the image at this size: float32 (height, width, 3)."""
        level = np.empty((height, width, 3), np.float32)
        edges = np.arange(height + 1) * (self._height / height)
        whole = np.minimum(edges.astype(np.intp), self._height - 1)
        fraction = (edges - whole).astype(np.float32)[:, None]
        block = max(1, _BLOCK // self._rows.shape[1])
        for start in range(0, height, block):
            part = level[start : start + block]
            rows = len(part)
            cells = self._cell_sums(whole[start : start + rows + 1], fraction[start : start + rows + 1])
            cv2.resize(cells.reshape(rows, -1, 3), (width, rows), part, interpolation=cv2.INTER_AREA)
            part *= np.float32(height / self._height)
        return level

    def _cell_sums(self, whole: NDArray[np.intp], fraction: Float32) -> Float32:
        """Sums down the columns from each edge to the next; an edge is a number of whole rows and a part of one."""
        complete = self._sums.take(whole, axis=0)
        cells: Float32 = (complete[1:] - complete[:-1]).astype(np.float32)
        partial = self._rows.take(whole, axis=0).astype(np.float32)
        partial *= fraction
        cells += partial[1:]
        cells -= partial[:-1]
        return cells


def _sum_type(image: NDArray[np.uint8]) -> type[np.unsignedinteger[Any]]:
    """16 bits, for half the memory traffic, unless a level's pixel can cover more rows than they hold."""
    return np.uint16 if min(image.shape[:2]) <= 12 * _LONGEST_CELL else np.uint32
