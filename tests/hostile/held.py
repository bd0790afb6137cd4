"""Pictures that were not held upright, in each way in which a format can say so."""

import zlib
from collections.abc import Callable

from PIL import Image as Pillow
from PIL import TiffImagePlugin

from tests.hostile.pictures import UNDO, encoded
from tests.support.metadata import BYTE, ELEMENT, LONG, SHORT, SINGLE_QUOTES, exif, only_exif, with_chunk, xmp


def held(upright: Pillow.Image, orientation: int) -> Pillow.Image:
    """The picture as it is stored where this orientation turns it upright."""
    return upright.transpose(UNDO[orientation]) if orientation in UNDO else upright


def jpeg(picture: Pillow.Image, *segments: bytes) -> bytes:
    data = encoded(picture, "JPEG", quality=95)
    marked = [b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment for segment in segments]
    return data[:2] + b"".join(marked) + data[2:]


def profile(keyword: bytes, block: bytes) -> bytes:
    """The compressed text in which ImageMagick keeps a block."""
    text = b"\n" + keyword + b"\n%8d\n" % len(block) + block.hex().encode() + b"\n"
    return b"Raw profile type " + keyword + b"\x00\x00" + zlib.compress(text)


def text(packet: bytes, packed: bool = False) -> bytes:
    head = b"XML:com.adobe.xmp\x00" + (b"\x01" if packed else b"\x00") + b"\x00\x00\x00"
    return head + (zlib.compress(packet) if packed else packet)


def png(picture: Pillow.Image, kind: bytes, data: bytes, late: bool) -> bytes:
    return with_chunk(encoded(picture, "PNG"), kind, data, late=late)


def tiff(picture: Pillow.Image, packet: bytes, tag: int | None = None, kind: int = SHORT) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags.tagtype[700] = packet, 1
    if tag is not None:
        tags[274], tags.tagtype[274] = bytes([tag]) if kind == BYTE else tag, kind
    return encoded(picture, "TIFF", tiffinfo=tags)


EXIF = b"Exif\x00\x00"
XMP = b"http://ns.adobe.com/xap/1.0/\x00"
Writer = Callable[[Pillow.Image, int], bytes]
WRITERS: dict[str, Writer] = {
    "jpeg, exif": lambda p, o: jpeg(p, EXIF + exif(o)),
    "jpeg, exif of a byte": lambda p, o: jpeg(p, EXIF + exif(o, kind=BYTE)),
    "jpeg, exif of a big-endian long": lambda p, o: jpeg(p, EXIF + exif(o, kind=LONG, order=">")),
    "jpeg, xmp": lambda p, o: jpeg(p, XMP + xmp(o)),
    "jpeg, xmp in single quotes": lambda p, o: jpeg(p, XMP + xmp(o, SINGLE_QUOTES)),
    "jpeg, xmp element": lambda p, o: jpeg(p, XMP + xmp(o, ELEMENT)),
    "jpeg, xmp of another prefix": lambda p, o: jpeg(p, XMP + xmp(o, SINGLE_QUOTES, prefix="t")),
    "jpeg, exif of no sense and xmp": lambda p, o: jpeg(p, EXIF + exif(9), XMP + xmp(o)),
    "png, exif": lambda p, o: png(p, b"eXIf", exif(o), False),
    "png, exif of a big-endian byte": lambda p, o: png(p, b"eXIf", exif(o, kind=BYTE, order=">"), False),
    "png, late exif": lambda p, o: png(p, b"eXIf", exif(o), True),
    "png, xmp": lambda p, o: png(p, b"iTXt", text(xmp(o, SINGLE_QUOTES)), False),
    "png, late xmp": lambda p, o: png(p, b"iTXt", text(xmp(o)), True),
    "png, late packed xmp": lambda p, o: png(p, b"iTXt", text(xmp(o, ELEMENT), True), True),
    "png, profile": lambda p, o: png(p, b"zTXt", profile(b"exif", EXIF + exif(o)), False),
    "png, late profile": lambda p, o: png(p, b"zTXt", profile(b"APP1", EXIF + exif(o)), True),
    "png, late profile of xmp": lambda p, o: png(p, b"zTXt", profile(b"xmp", xmp(o)), True),
    "transparent png, late exif": lambda p, o: png(p.convert("RGBA"), b"eXIf", exif(o), True),
    "webp, exif": lambda p, o: encoded(p, "WEBP", lossless=True, exif=exif(o)),
    "webp, exif of a big-endian long": lambda p, o: encoded(
        p, "WEBP", lossless=True, exif=exif(o, kind=LONG, order=">")
    ),
    "webp, xmp": lambda p, o: encoded(p, "WEBP", lossless=True, xmp=xmp(o, SINGLE_QUOTES)),
    "tiff, xmp": lambda p, o: tiff(p, xmp(o)),
    "tiff, xmp in single quotes": lambda p, o: tiff(p, xmp(o, SINGLE_QUOTES)),
    "tiff, tag of no sense and xmp": lambda p, o: tiff(p, xmp(o, ELEMENT), tag=0),
    "tiff, tag and stale xmp": lambda p, o: tiff(p, xmp(1 + o % 8), tag=o),
    "tiff, tag of a long": lambda p, o: tiff(p, xmp(1 + o % 8), tag=o, kind=LONG),
    "tiff, tag of a byte": lambda p, o: tiff(p, xmp(1 + o % 8), tag=o, kind=BYTE),
    "avif, container": lambda p, o: encoded(p, "AVIF", quality=95, exif=exif(o)),
    "avif, exif": lambda p, o: only_exif(p, "AVIF", o),
    "avif, xmp": lambda p, o: encoded(p, "AVIF", quality=95, xmp=xmp(o, SINGLE_QUOTES)),
    "heif, container": lambda p, o: encoded(p, "HEIF", quality=95, exif=EXIF + exif(o)),
    "heif, exif": lambda p, o: only_exif(p, "HEIF", o),
    "heif, xmp": lambda p, o: encoded(p, "HEIF", quality=95, xmp=xmp(o, SINGLE_QUOTES)),
}
