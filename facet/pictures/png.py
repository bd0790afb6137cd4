"""The chunks of a PNG: those of its pixels, and those that tell how it was held.

libpng inflates and keeps texts that no one reads, 8 MB each, so that it is given the pixels alone.
"""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from facet.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_MAX_CHUNKS = 20_000
_MAX_TEXT_BYTES = 1 << 20
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_XMP, _XMP_PROFILE = b"XML:com.adobe.xmp", b"Raw profile type xmp"
_EXIF_PROFILE, _APP1_PROFILE = b"Raw profile type exif", b"Raw profile type APP1"
_METADATA = {_XMP, _XMP_PROFILE, _EXIF_PROFILE, _APP1_PROFILE}
_IEND = b"\x00\x00\x00\x00IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class Chunks:
    """`pixels`: a PNG of nothing but its pixels; `exif` and `xmp`: blocks, wherever in the file they stand.

    `cut`: it ends within a chunk. `apple`: it is of a form that Apple's tools make, which no one else reads.
    """

    pixels: bytes
    exif: bytes | None
    xmp: bytes | None
    cut: bool
    apple: bool

    @property
    def deep(self) -> bool:
        """Whether its channels have 16 bits."""
        return self.pixels[24:25] == b"\x10"


def read_chunks(data: bytes) -> Chunks:
    """Raises ImageError `undecodable` for too many chunks, and for a text that inflates to more than 1 MB.

    A PNG whose end is missing is given one: whether all pixels are there is for the decoder to tell.
    """
    pixels, exif, texts = [SIGNATURE], None, dict[bytes, bytes]()
    end = len(SIGNATURE)
    for kind, chunk in _chunks(data):
        end += len(chunk)
        if kind in _PIXELS:
            pixels.append(chunk)
        elif kind == b"eXIf":
            exif = exif or chunk[8:-4]
        elif kind in _TEXTS:
            keyword, text = _text(kind, chunk[8:-4])
            if keyword in _METADATA:
                texts.setdefault(keyword, text)
    exif = exif or _profile(texts, _EXIF_PROFILE) or _profile(texts, _APP1_PROFILE)
    xmp = texts.get(_XMP) or _profile(texts, _XMP_PROFILE)
    return Chunks(b"".join([*pixels, _IEND]), exif, xmp, cut=end > len(data), apple=data[12:16] == b"CgBI")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and whole chunk; one that is cut is closed where it was cut."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if len(kind) < 4 or kind == b"IEND":
            return
        end = at + 12 + length
        if end <= len(data):
            yield kind, data[at:end]
        else:
            rest = data[at + 8 : at + 8 + length]
            yield kind, b"".join([len(rest).to_bytes(4), kind, rest, zlib.crc32(rest, zlib.crc32(kind)).to_bytes(4)])
        at = end
    raise ImageError("undecodable", "The PNG file has too many chunks.")


def _text(kind: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Keyword and text, empty where it cannot be inflated."""
    keyword, _, rest = text.partition(b"\x00")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\x01")
    if kind == b"zTXt":
        rest = rest[1:]
    elif kind == b"iTXt":
        _, _, rest = rest[2:].partition(b"\x00")  # language, then translated keyword
        _, _, rest = rest.partition(b"\x00")
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, _MAX_TEXT_BYTES + 1)
        except zlib.error:  # nobody reads it
            rest = b""
        if len(rest) > _MAX_TEXT_BYTES:
            raise ImageError("undecodable", "The PNG file holds a compressed text of more than 1 MB.")
    return keyword, rest


def _profile(texts: dict[bytes, bytes], keyword: bytes) -> bytes | None:
    """A block as ImageMagick writes it, as a text: name, length, and hexadecimal digits."""
    lines = texts.get(keyword, b"").split(b"\n")
    with suppress(ValueError):
        return bytes.fromhex(b"".join(lines[3:]).decode("ascii", "replace")) or None
    return None
