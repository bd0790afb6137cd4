"""BMP files of any fields of bits, made on the spot."""

import struct

import numpy as np
from numpy.typing import NDArray

Masks = tuple[int, int, int, int]
FIELDS: dict[str, tuple[int, Masks]] = {
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "555": (16, (0x7C00, 0x3E0, 0x1F, 0)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "BGRA": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "RGBX": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "ABGR": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)),
}
"""Bits a pixel, and where in them red, green, blue and cover are."""
_WITH_COVER = 56


def bmp(
    pixels: NDArray[np.uint8], bits: int, masks: Masks, *, header: int, top_down: bool = False, cover: int = 255
) -> bytes:
    """A header of 40 bytes says nothing of a cover."""
    height, width, _ = pixels.shape
    values = np.zeros((height, width), np.uint32)
    for channel, mask in zip((*np.moveaxis(pixels, 2, 0), np.full((height, width), cover)), masks, strict=True):
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        values |= np.rint(channel * ((mask >> shift) / 255)).astype(np.uint32) << np.uint32(shift)
    rows = values.astype(f"<u{bits // 8}").view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    data = (rows if top_down else rows[::-1]).tobytes()
    told = struct.pack("<4I", *masks) if header >= _WITH_COVER else struct.pack("<3I", *masks[:3])
    head = struct.pack(
        "<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits, 3, len(data), 0, 0, 0, 0
    )
    head += told + bytes(max(0, header - 40 - len(told)))
    return b"BM" + struct.pack("<III", 14 + len(head) + len(data), 0, 14 + len(head)) + head + data
