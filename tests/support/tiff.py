"""TIFF files of any tags, made on the spot."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BYTE, ASCII, SHORT, LONG, UNDEFINED, FLOAT = 1, 2, 3, 4, 7, 11
_FORMATS = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", UNDEFINED: "B", FLOAT: "f", 13: "I", 16: "Q"}
Value = tuple[int, Sequence[float]]


@dataclass
class Page:
    """`tags` by number, each of a type and values; its pixels are one strip a plane; `below` are its SubIFDs."""

    tags: dict[int, Value]
    strip: bytes
    below: list["Page"] = field(default_factory=list)
    planes: int = 1


def page(pixels: NDArray[np.generic], *, order: str = "<", below: Sequence[Page] = (), **named: int) -> Page:
    """An uncompressed page of the array's own type and shape; `named` are tags such as `photometric=0`."""
    height, width, samples = (*pixels.shape, 1)[:3]
    bits, kind = pixels.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    strip = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    tags: dict[int, Value] = {
        254: (LONG, [named.pop("subfile", 0)]),
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [named.pop("bits", bits)] * samples),
        259: (SHORT, [named.pop("compression", 1)]),
        262: (SHORT, [named.pop("photometric", 1 if samples == 1 else 2)]),
        277: (SHORT, [samples]),
        278: (LONG, [height]),
        339: (SHORT, [kind] * samples),
    }
    for name, value in named.items():
        tags[int(name.removeprefix("tag"))] = (LONG, [value])
    return Page(tags, strip, list(below))


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """The file with these pages, of which the first is at its end: as many programs write it."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    data, word = bytearray(head), "Q" if big else "I"
    following = 0
    for each in reversed(pages):
        following = _write(data, each, order, big, following)
    struct.pack_into(order + word, data, 8 if big else 4, following)
    return bytes(data)


def _write(data: bytearray, page: Page, order: str, big: bool, following: int) -> int:
    word, room = ("Q", 8) if big else ("I", 4)
    below = [_write(data, each, order, big, 0) for each in page.below]
    length = len(page.strip) // page.planes
    starts = range(len(data), len(data) + length * page.planes, length)
    tags = dict(page.tags) | {273: (LONG, starts), 279: (LONG, [length] * page.planes)}
    data += page.strip + bytes(len(page.strip) & 1)
    if below:
        tags[330] = (16 if big else LONG, below)
    entries = b""
    for tag, (kind, values) in sorted(tags.items()):
        value = struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values)
        if len(value) > room:
            data += bytes(len(data) & 1)
            value, place = struct.pack(order + word, len(data)), value
            data += place
        entries += struct.pack(order + "HH" + word, tag, kind, len(values)) + value.ljust(room, b"\x00")
    data += bytes(len(data) & 1)
    offset = len(data)
    data += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + struct.pack(order + word, following)
    return offset
