"""Blocks of metadata that tell an orientation, and where formats keep them."""

import io
import struct

from PIL import Image as Pillow
from pillow_heif import register_heif_opener

from tests.hostile.pictures import chunk

register_heif_opener(thumbnails=False)  # a test that writes HEIC may not have loaded the service's decoders

_NAMESPACE = "http://ns.adobe.com/tiff/1.0/"
_RESOLUTION_UNIT, _ORIENTATION = 296, 274
BYTE, SHORT, LONG = 1, 3, 4
_VALUES = {BYTE: "B3x", SHORT: "H2x", LONG: "I"}


def exif(orientation: int, tag: int = _ORIENTATION, kind: int = SHORT, order: str = "<") -> bytes:
    """An EXIF block of this one entry."""
    head = b"II*\x00" if order == "<" else b"MM\x00*"
    return head + struct.pack(f"{order}IHHHI{_VALUES[kind]}I", 8, 1, tag, kind, 1, orientation, 0)


def xmp(orientation: int, style: str = '{prefix}:Orientation="{value}"', prefix: str = "tiff") -> bytes:
    """An XMP packet; a style that begins with < is an element."""
    said = style.format(prefix=prefix, value=orientation)
    attribute, element = ("", said) if said.startswith("<") else (said, "")
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:{prefix}="{_NAMESPACE}" {attribute}>{element}</rdf:Description>'
        f"</rdf:RDF></x:xmpmeta>"
    ).encode()


ELEMENT = "<{prefix}:Orientation>{value}</{prefix}:Orientation>"
SINGLE_QUOTES = "{prefix}:Orientation = '{value}'"


def only_exif(picture: Pillow.Image, form: str, orientation: int) -> bytes:
    """A HEIF or AVIF that is turned by EXIF alone: its container says nothing, as exiftool leaves one.

    Pillow and pillow-heif would turn it by the container, so that the entry gets its tag when they are done.
    """
    out = io.BytesIO()
    picture.save(out, form, quality=90, exif=b"Exif\x00\x00" + exif(orientation, _RESOLUTION_UNIT))
    there, then = exif(orientation, _RESOLUTION_UNIT), exif(orientation)
    assert out.getvalue().count(there) == 1
    return out.getvalue().replace(there, then)


def with_chunk(png: bytes, kind: bytes, data: bytes, *, late: bool) -> bytes:
    """The PNG with a chunk more, before its pixels or behind them."""
    at = len(png) - 12 if late else 33
    return png[:at] + chunk(kind, data) + png[at:]
