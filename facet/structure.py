"""What a file's own structure tells before a decoder sees it, for the two formats whose decoders are too trusting.

libjpeg goes through the whole picture for every scan, however empty, so that a small file can keep it busy for hours.
libpng inflates and keeps texts that no one reads, 8 MB each.
"""

import re
import zlib

from facet.errors import ImageError

MAX_SCANS = 100
"""A progressive JPEG has some ten scans."""

_MAX_PIECES = 20_000
_MAX_TEXT_BYTES = 1 << 20
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}

# Bytes of 255 fill up, a 0 after one makes it data, and restart markers stand within a scan.
_MARKER = re.compile(rb"(?<!\xff)\xff++([^\x00\x01\xd0-\xd8\xff])")
_SOS, _EOI = 0xDA, 0xD9


def scan_ends(data: bytes) -> list[int]:
    """Where the data of each scan of a JPEG ends. Raises ImageError `undecodable` for a file of too many pieces."""
    ends: list[int] = []
    at = 2
    for _ in range(_MAX_PIECES):
        marker = _MARKER.search(data, at)
        if marker is None or marker[1][0] == _EOI:
            return ends
        length = int.from_bytes(data[marker.end() : marker.end() + 2])
        at = marker.end() + max(length, 2)
        if marker[1][0] == _SOS:
            following = _MARKER.search(data, at)
            at = following.start() if following else len(data)
            ends.append(at)
            if len(ends) > MAX_SCANS:
                raise ImageError("undecodable", f"The JPEG file has more than {MAX_SCANS} scans.")
    raise ImageError("undecodable", "The JPEG file has too many segments.")


def pixel_chunks(data: bytes) -> bytes:
    """A PNG without what is not pixels: no texts, profiles, or further frames of an animation.

    Raises ImageError `undecodable` for too many chunks, and for a text that inflates to more than 1 MB.
    """
    kept, at = [data[:8]], 8
    for _ in range(_MAX_PIECES):
        if at >= len(data):
            return b"".join(kept)
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        if kind in _PIXEL_CHUNKS:
            kept.append(data[at:end])
        elif kind in (b"zTXt", b"iTXt") and _is_bomb(kind, data[at + 8 : end - 4]):
            raise ImageError("undecodable", "The PNG file holds a compressed text of more than 1 MB.")
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ImageError("undecodable", "The PNG file has too many chunks.")


def _is_bomb(kind: bytes, text: bytes) -> bool:
    _, _, rest = text.partition(b"\x00")
    if kind == b"iTXt":
        if rest[:1] != b"\x01":
            return False
        _, _, rest = rest[2:].partition(b"\x00")  # language, then translated keyword
        _, _, rest = rest.partition(b"\x00")
    else:
        rest = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(rest, _MAX_TEXT_BYTES + 1)) > _MAX_TEXT_BYTES
    except zlib.error:
        return False  # nobody reads it
