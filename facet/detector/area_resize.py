"""Area-averaging of one image to many sizes, a few rows at a time.

Every level of MTCNN's pyramid is the mean over the pixels, and fractions of pixels, that each of its
own pixels covers. `cv2.resize(..., INTER_AREA)` gives the same numbers, but walks the whole source
for each level, one multiplication at a time. Here sums down the columns are made once; a level's rows
are then differences of two of them, and only these few rows are left to `cv2.resize`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_BLOCK = 1 << 17  # floats handled at a time, so that the passes over them stay in the cache

TALLEST = 65_793
"""Rows up to which the sums of pixels from 0 to 255 are exact in float32, whose integers end at 2**24."""


class AreaResizer:
    """Resizes `pixels`, float32 (height, width, 3) of whole numbers from 0 to 255, at most TALLEST rows.

    `sums` is scratch space, float32 (height + 1, 3 * width), which the resizer overwrites and keeps using.
    """

    def __init__(self, pixels: Float32, sums: Float32) -> None:
        self._height, self._width = pixels.shape[:2]
        self._rows = pixels.reshape(self._height, -1)
        self._sums = sums
        sums[0] = 0
        # Row by row: np.cumsum along the first axis is ten times slower.
        for before, row, after in zip(sums[:-1], self._rows, sums[1:], strict=True):
            np.add(before, row, out=after)

    def fill(self, out: Float32, height: int, first: int) -> None:
        """Fill `out`, float32 (3, n, width), with n rows from `first` of the image at (height, width)."""
        _, count, width = out.shape
        block = max(1, _BLOCK // self._rows.shape[1])
        for start in range(0, count, block):
            part = out[:, start : start + block]
            rows = part.shape[1]
            cells = self._cell_sums(height, first + start, first + start + rows)
            flat = cv2.resize(cells.reshape(rows, -1, 3), (width, rows), interpolation=cv2.INTER_AREA)
            mean = np.float32(height / self._height)
            np.multiply(flat.reshape(rows, width, 3).transpose(2, 0, 1), mean, out=part)

    def _cell_sums(self, height: int, start: int, stop: int) -> Float32:
        """Sums down the columns over the source rows that each of the level's rows covers."""
        edges = np.arange(start, stop + 1) * (self._height / height)
        whole = np.minimum(edges.astype(np.intp), self._height - 1)
        fraction = (edges - whole).astype(np.float32)[:, None]
        # Differences of whole rows first: they are exact, however large the sums.
        complete = self._sums.take(whole, axis=0)
        cells: Float32 = complete[1:] - complete[:-1]
        partial = self._rows.take(whole, axis=0)
        partial *= fraction
        cells += partial[1:]
        cells -= partial[:-1]
        return cells
