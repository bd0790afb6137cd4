"""A JPEG of the lossless process, which nothing here writes."""

import struct

import numpy as np
from numpy.typing import NDArray

_LENGTHS = [0, 0, 0, 0, 17]
"""17 codes of 5 bits: one for each number of bits that a difference has."""


def lossless_jpeg(pixels: NDArray[np.generic], precision: int = 8) -> bytes:
    """The grey picture, each value less its neighbour on the left; at the left edge, less the one above."""
    values = pixels.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0], predicted[0, 0] = values[:-1, 0], 1 << (precision - 1)
    stream = "".join(_code(int(difference)) for difference in (values - predicted).ravel())
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8).replace(b"\xff", b"\xff\x00")
    height, width = values.shape
    frame = struct.pack(">BHHB", precision, height, width, 1) + bytes([1, 0x11, 0])
    table = bytes([0, *_LENGTHS, *[0] * 11, *range(17)])
    return (
        b"".join(
            [b"\xff\xd8", _segment(0xC3, frame), _segment(0xC4, table), _segment(0xDA, bytes([1, 1, 0, 1, 0, 0])), scan]
        )
        + b"\xff\xd9"
    )


def _code(difference: int) -> str:
    size = abs(difference).bit_length()
    bits = difference if difference >= 0 else difference + (1 << size) - 1
    return f"{size:05b}" + (f"{bits:0{size}b}" if size else "")


def _segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data
