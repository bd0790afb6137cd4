"""The pages of a TIFF: which of them is the photo, and what is none that anyone here reads.

Pillow reads the first page, whatever that is: of a camera's raw file, and of some scanners', a small copy of the photo.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from facet.errors import ImageError

BIG_ENDIAN_BIG = b"MM\x00+"
SIGNATURES = (b"II*\x00", b"MM\x00*", b"II\x00*", b"MM*\x00", b"II+\x00", BIG_ENDIAN_BIG)

_MAX_PAGES = 100
_MAX_ENTRIES = 2_000
_MAX_VALUES = 64


class Tag(IntEnum):
    """Tags by the names of their specifications."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    STRIPS = 273
    SAMPLES = 277
    MAX_SAMPLE = 281
    PLANAR = 284
    TILES = 324
    SUB_IFDS = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    S_MAX_SAMPLE = 341
    CFA_PATTERN = 33422
    LEAF = 34310
    PHASE_ONE = 33424
    DNG_VERSION = 50706
    CR2_CFA = 50752


_TAGS = frozenset(Tag)
_FORMATS = {1: "B", 3: "H", 4: "I", 7: "B", 11: "f", 12: "d", 13: "I", 16: "Q", 18: "Q"}
_RAW_TAGS = {Tag.CFA_PATTERN, Tag.LEAF, Tag.PHASE_ONE, Tag.DNG_VERSION, Tag.CR2_CFA}
_RAW_PHOTOMETRICS = {32803, 34892}  # a colour filter array, and what a DNG makes of it
_RAW_COMPRESSIONS = {
    32767,
    32769,
    32770,
    32772,
    34713,
    34892,
    65000,
    65535,
}  # Sony, Epson, Samsung, Nikon, DNG, Kodak, Pentax
_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34676, 34677, 34925, 50000}
"""What Pillow's libtiff decodes."""
_NAMES = {
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34661: "JBIG",
    34887: "LERC",
    34934: "JPEG XR",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_COLOURS = {0: "0 is white", 1: "0 is black", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_KINDS = {
    1: "unsigned integers",
    2: "signed integers",
    3: "floating-point numbers",
    5: "complex integers",
    6: "complex numbers",
}


@dataclass(frozen=True, slots=True)
class Page:
    """An image file directory: where it stands, and the first few values of its tags."""

    offset: int
    tags: dict[int, tuple[float, ...]]
    intact: bool

    def first(self, tag: Tag, default: int) -> float:
        return next(iter(self.tags.get(tag, ())), default)

    @property
    def pixels(self) -> float:
        return self.first(Tag.WIDTH, 0) * self.first(Tag.HEIGHT, 0)

    @property
    def full(self) -> bool:
        """Whether it is neither marked as a reduced copy of another nor as a mask."""
        return not int(self.first(Tag.SUBFILE, 0)) & 0b101 and self.first(Tag.OLD_SUBFILE, 1) != 2

    @property
    def raw(self) -> bool:
        """Whether it holds what a camera's sensor saw, which is no picture yet, or says that its file does."""
        return (
            bool(_RAW_TAGS & self.tags.keys())
            or self.first(Tag.PHOTOMETRIC, 0) in _RAW_PHOTOMETRICS
            or self.first(Tag.COMPRESSION, 1) in _RAW_COMPRESSIONS
        )

    @property
    def kind(self) -> str:
        """What it holds, for people."""
        compression = int(self.first(Tag.COMPRESSION, 1))
        if compression not in _COMPRESSIONS:
            return f"a TIFF with {_NAMES.get(compression, f'unknown ({compression})')} compression"
        samples, bits = int(self.first(Tag.SAMPLES, 1)), int(self.first(Tag.BITS, 1))
        numbers = _KINDS.get(int(self.first(Tag.SAMPLE_FORMAT, 1)), "values of an unknown kind")
        channels = "one channel" if samples == 1 else f"{samples} channels"
        photometric = int(self.first(Tag.PHOTOMETRIC, 0))
        return (
            f"a TIFF of {channels} of {bits}-bit {numbers} ({_COLOURS.get(photometric, f'photometric {photometric}')})"
        )

    @property
    def has_pixels(self) -> bool:
        return self.pixels > 0 and bool({Tag.STRIPS, Tag.TILES} & self.tags.keys())

    @property
    def compression_is_read(self) -> bool:
        return self.first(Tag.COMPRESSION, 1) in _COMPRESSIONS


def read_pages(data: bytes) -> list[Page]:
    """The pages in their order, each followed by those that it has beneath it, up to a hundred."""
    return list(_Reader(data).pages()) if data[:4] in SIGNATURES else []


def is_raw(data: bytes, pages: list[Page]) -> bool:
    return data[8:10] == b"CR" or data[8:12] in (b"IIII", b"MMMM") or any(page.raw for page in pages)


def photo_first(data: bytes, pages: list[Page]) -> tuple[Page, bytes]:
    """The page of the photo, and the file with that page as its first: the first, or where that is marked as a reduced
    copy or as a mask, the largest that is not.

    Raises ImageError `undecodable` where it cannot be told, since the file is cut.
    """
    first = pages[0]
    if first.full:
        return first, data
    if not all(page.intact for page in pages):
        raise ImageError(
            "undecodable", "The TIFF file is cut short: its first page is a small copy, and others are missing."
        )
    photo = max([page for page in pages if page.full] or pages, key=lambda page: page.pixels)
    return photo, _Reader(data).starting_at(photo.offset)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._big = 43 in data[2:4]
        self._word = self._order + ("Q" if self._big else "I")
        self._start = 8 if self._big else 4

    def starting_at(self, offset: int) -> bytes:
        end = self._start + struct.calcsize(self._word)
        return b"".join([self._data[: self._start], struct.pack(self._word, offset), self._data[end:]])

    def pages(self) -> Iterator[Page]:
        seen: set[int] = set()
        waiting = [self._number(self._word, self._start)]
        while waiting and len(seen) < _MAX_PAGES:
            offset = waiting.pop()
            if not offset or offset in seen:
                continue
            seen.add(offset)
            page, following = self._page(offset)
            yield page
            below = [int(value) for value in page.tags.get(Tag.SUB_IFDS, ())]
            waiting += [following, *reversed(below)]

    def _page(self, offset: int) -> tuple[Page, int]:
        """The page, and where the next is; what lies behind the end of the file is left out of it."""
        tags: dict[int, tuple[float, ...]] = {}
        count_format, size = ("Q", 20) if self._big else ("H", 12)
        count = self._number(self._order + count_format, offset)
        at = offset + struct.calcsize(count_format)
        intact = count > 0 and at + count * size + struct.calcsize(self._word) <= len(self._data)
        for entry in range(at, at + min(count, _MAX_ENTRIES) * size, size):
            tag = self._number(self._order + "H", entry)
            if tag in _TAGS:
                values = self._values(entry)
                intact = intact and bool(values)
                tags[tag] = values
        return Page(offset, tags, intact), self._number(self._word, at + count * size)

    def _values(self, entry: int) -> tuple[float, ...]:
        struct_format = _FORMATS.get(self._number(self._order + "H", entry + 2), "B")
        count = min(self._number(self._word, entry + 4), _MAX_VALUES)
        at = entry + 4 + struct.calcsize(self._word)
        if struct.calcsize(struct_format) * count > struct.calcsize(self._word):
            at = self._number(self._word, at)
        try:
            return struct.unpack_from(f"{self._order}{count}{struct_format}", self._data, at)
        except struct.error:
            return ()

    def _number(self, struct_format: str, at: int) -> int:
        """0 where the file is too short."""
        if at < 0 or at + struct.calcsize(struct_format) > len(self._data):
            return 0
        return int(struct.unpack_from(struct_format, self._data, at)[0])
