"""BMP files whose colours are fields of bits: decoders know a few layouts of them only."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facet.errors import unsupported

Pixels = NDArray[np.uint8]

SIGNATURE = b"BM"

_PLAIN_HEADER, _OS2_HEADER, _MASKS_AT = 40, 64, 54
_HEADER_WITH_COVER = 56
_BIT_FIELDS, _BIT_FIELDS_WITH_COVER = 3, 6
_HELD = {4: "JPEG", 5: "PNG"}
_ROWS = 256


def with_whole_bytes(data: bytes, max_pixels: int) -> bytes:
    """The file with a byte for each channel, where it has fields of bits; else as it is.

    A cover of nothing but zeros is none: programs that know of no transparency leave it so. A file that is cut, or has
    more than `max_pixels`, stays as it is, to be refused later. Raises ImageError `unsupported` for a JPEG or PNG in
    the guise of a BMP.
    """
    if not data.startswith(SIGNATURE) or len(data) < _MASKS_AT + 16:
        return data
    start, header = struct.unpack_from("<II", data, 10)
    if header < _PLAIN_HEADER or header == _OS2_HEADER:  # OS/2 gives compressions other numbers
        return data
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in _HELD and bits == 0:
        raise unsupported(f"a BMP that holds a {_HELD[compression]} picture")
    if compression not in (_BIT_FIELDS, _BIT_FIELDS_WITH_COVER) or bits not in (16, 32):
        return data
    rows, row = abs(height), (width * bits + 31) // 32 * 4
    if width <= 0 or not 0 < rows * width <= max_pixels or start + rows * row > len(data):
        return data
    masks = list(struct.unpack_from("<4I", data, _MASKS_AT))
    if header < _HEADER_WITH_COVER and compression == _BIT_FIELDS:
        masks[3] = 0
    pixels = np.empty((rows, width, 4), np.uint8)
    for top in range(0, rows, _ROWS):
        part = data[start + top * row : start + min(top + _ROWS, rows) * row]
        values = np.frombuffer(part, f"<u{bits // 8}").reshape(-1, row * 8 // bits)[:, :width]
        for channel, mask in enumerate((masks[2], masks[1], masks[0], masks[3])):
            pixels[top : top + _ROWS, :, channel] = _field(values, mask)
    covered = bool(pixels[..., 3].any())
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, _BIT_FIELDS, pixels.nbytes, 0, 0, 0, 0)
    head += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000 if covered else 0) + bytes(52)
    return b"".join([SIGNATURE, struct.pack("<III", 122 + pixels.nbytes, 0, 122), head, pixels.tobytes()])


def _field(values: NDArray[np.unsignedinteger[Any]], mask: int) -> Pixels:
    """The bits of a mask in each value, brought to 8."""
    mask &= int(np.iinfo(values.dtype).max)
    if not mask:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    highest = mask >> shift
    field = values >> shift & values.dtype.type(highest)
    return np.asarray(np.rint(field * (255 / highest)), np.uint8)
