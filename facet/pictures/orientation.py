"""How a picture is to be turned: one rule for every format.

What the container says of itself comes first (`irot` and `imir` of HEIF and AVIF, the tag of a TIFF's page), then EXIF,
then XMP. A value that makes no sense is passed over.
"""

import re

from PIL import ExifTags
from PIL import Image as Pillow

from facet.pictures import isobmff, png

_TIFF_NAMESPACE = re.compile(rb"xmlns:([\w.-]+)\s*=\s*[\"']http://ns\.adobe\.com/tiff/1\.0/[\"']")
_XMP_VALUE = rb":Orientation\s*(?:=\s*[\"']|>)\s*([1-8])\s*[\"'<]"


def orientation(picture: Pillow.Image, data: bytes, chunks: png.Chunks | None) -> int:
    """The EXIF orientation that remains to be applied to the pixels as Pillow and OpenCV give them.

    `picture` is opened and not yet loaded; `chunks` are those of a PNG.
    """
    if chunks:
        return _first(chunks.exif, chunks.xmp)
    if picture.format == "TIFF":
        return 1 if turned_by_tag(picture) else _byte(_tag(picture)) or _of_xmp(_bytes(picture.info.get("xmp"))) or 1
    if picture.format in ("AVIF", "HEIF"):
        items = isobmff.read_items(data)
        if not items.turns:
            return _first(items.exif, items.xmp)
        # pillow-heif has turned it; Pillow tells by EXIF how an AVIF is to be turned
        return 1 if picture.format == "HEIF" else _first(_bytes(picture.info.get("exif")), None)
    return _first(_bytes(picture.info.get("exif")), _bytes(picture.info.get("xmp")))


def turned_by_tag(picture: Pillow.Image) -> bool:
    """Whether a TIFF says by its own tag how it is turned: that Pillow applies itself, where it is no byte."""
    return _valid(_tag(picture)) is not None


def _tag(picture: Pillow.Image) -> object:
    return getattr(picture, "tag_v2", {}).get(ExifTags.Base.Orientation)


def _first(exif: bytes | None, xmp: bytes | None) -> int:
    return _of_exif(exif) or _of_xmp(xmp) or 1


def _of_exif(block: bytes | None) -> int | None:
    if not block:
        return None
    found = Pillow.Exif()
    try:
        found.load(block)
        value = found.get(ExifTags.Base.Orientation)
        return _valid(value) or _byte(value)
    except Exception:  # anything can be wrong in there, and none of it is the picture's fault
        return None


def _of_xmp(packet: bytes | None) -> int | None:
    """In single or double quotes or as an element, whatever the namespace's prefix is."""
    if not packet:
        return None
    packet = packet.replace(b"\x00", b"")  # UTF-16 and UTF-32
    namespace = _TIFF_NAMESPACE.search(packet)
    prefix = re.escape(namespace[1]) if namespace else b"tiff"
    value = re.search(rb"\b" + prefix + _XMP_VALUE, packet)
    return int(value[1]) if value else None


def _valid(value: object) -> int | None:
    return value if isinstance(value, int) and 1 <= value <= 8 else None


def _byte(value: object) -> int | None:
    """The value where it was written as a byte, which Pillow gives as one, instead of as a short integer."""
    return _valid(value[0]) if isinstance(value, bytes) and len(value) == 1 else None


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None
