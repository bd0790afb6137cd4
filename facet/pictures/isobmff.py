"""The items of a HEIF or AVIF file: how its picture is turned, and where its metadata stand.

Pillow and pillow-heif tell neither whether the container itself turns the picture, nor what EXIF said before they
changed it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

_MAX_BOXES = 10_000
_XMP = b"application/rdf+xml"


@dataclass(slots=True)
class Items:
    """`turns`: the container says by `irot` or `imir` how the picture is turned; `exif` and `xmp` are blocks."""

    turns: bool = False
    exif: bytes | None = None
    xmp: bytes | None = None


@dataclass(slots=True)
class _Meta:
    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    described: dict[int, set[int]] = field(default_factory=dict)
    properties: list[bytes] = field(default_factory=list)
    owned: dict[int, set[int]] = field(default_factory=dict)
    store: bytes = b""


def brands(data: bytes) -> set[bytes]:
    """Those that the file says it is of; none for a file of another kind."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4]), 4096)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}


def read_items(data: bytes) -> Items:
    """What is found; a file whose boxes are broken has nothing."""
    meta, items = _Meta(), Items()
    with suppress(IndexError, StopIteration):
        _read_meta(next(body for kind, body in _boxes(data, 0) if kind == b"meta"), meta)
    mine = meta.owned.get(meta.primary, set())
    items.turns = any(
        meta.properties[number - 1] in (b"irot", b"imir") for number in mine if 0 < number <= len(meta.properties)
    )
    exif = _item(data, meta, b"Exif")
    if exif:
        items.exif = exif[4 + int.from_bytes(exif[:4]) :]
    items.xmp = _item(data, meta, _XMP)
    return items


def _item(data: bytes, meta: _Meta, kind: bytes) -> bytes | None:
    """The item of this kind that describes the picture, or where nothing is said of that, the first."""
    found = [item for item, its in meta.kinds.items() if its == kind and item in meta.places]
    for item in sorted(found, key=lambda item: meta.primary not in meta.described.get(item, ())):
        method, start, length = meta.places[item]
        source = meta.store if method == 1 else data
        return source[start : start + length] if length else source[start:]
    return None


def _boxes(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(_MAX_BOXES):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        end = at + size if size else len(data)
        if len(kind) < 4 or end < at + head:
            return
        yield kind, data[at + head : end]
        at = end


def _read_meta(body: bytes, meta: _Meta) -> None:
    for kind, box in _boxes(body, 4):
        version, rest = box[0], _Reader(box, 4)
        if kind == b"pitm":
            meta.primary = rest.number(2 if version == 0 else 4)
        elif kind == b"idat":
            meta.store = box
        elif kind == b"iinf":
            _read_kinds(box, meta)
        elif kind == b"iloc":
            _read_places(rest, version, meta)
        elif kind == b"iref":
            _read_references(box, 2 if version == 0 else 4, meta)
        elif kind == b"iprp":
            _read_properties(box, meta)


def _read_kinds(box: bytes, meta: _Meta) -> None:
    for kind, entry in _boxes(box, 6 if box[0] == 0 else 8):
        if kind == b"infe" and entry[0] >= 2:
            rest = _Reader(entry, 4)
            item = rest.number(2 if entry[0] == 2 else 4)
            its = entry[rest.at + 2 : rest.at + 6]
            if its == b"mime":
                _, _, its = entry[rest.at + 6 :].partition(b"\x00")
                its, _, _ = its.partition(b"\x00")
            meta.kinds[item] = its


def _read_places(rest: "_Reader", version: int, meta: _Meta) -> None:
    sizes = rest.number(2)
    offset, length, base, index = ((sizes >> shift) & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    for _ in range(min(rest.number(wide), _MAX_BOXES)):
        item = rest.number(wide)
        method = rest.number(2) & 15 if version else 0
        rest.number(2)
        start = rest.number(base)
        for extent in range(min(rest.number(2), _MAX_BOXES)):
            rest.number(index if version else 0)
            place = method, start + rest.number(offset), rest.number(length)
            if extent == 0:
                meta.places[item] = place


def _read_references(box: bytes, wide: int, meta: _Meta) -> None:
    for kind, entry in _boxes(box, 4):
        if kind == b"cdsc":
            rest = _Reader(entry, 0)
            item = rest.number(wide)
            meta.described[item] = {rest.number(wide) for _ in range(min(rest.number(2), _MAX_BOXES))}


def _read_properties(box: bytes, meta: _Meta) -> None:
    for kind, part in _boxes(box, 0):
        if kind == b"ipco":
            meta.properties = [its for its, _ in _boxes(part, 0)]
        elif kind == b"ipma":
            rest, wide = _Reader(part, 4), 2 if part[0] == 0 else 4
            long = part[3] & 1
            for _ in range(min(rest.number(4), _MAX_BOXES)):
                item = rest.number(wide)
                owned = meta.owned.setdefault(item, set())
                for _ in range(rest.number(1)):
                    owned.add(rest.number(2) & 0x7FFF if long else rest.number(1) & 0x7F)


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int

    def number(self, size: int) -> int:
        """Raises IndexError at the end of the data."""
        if self.at + size > len(self.data):
            raise IndexError
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at])
