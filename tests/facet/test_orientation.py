"""Each way in which a picture tells how it was held, in each format that has it."""

import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import TiffImagePlugin

from facet.images import decode, read_header
from tests.hostile.pictures import UNDO, encoded
from tests.support.metadata import ELEMENT, SINGLE_QUOTES, exif, only_exif, with_chunk, xmp

LIMIT = 10_000_000
SIZE = (96, 64)

pytest.importorskip("pillow_heif")


@pytest.fixture(scope="module")
def upright(photo: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(photo)).convert("RGB").resize(SIZE)


def held(upright: Pillow.Image, orientation: int) -> Pillow.Image:
    """The picture as it is stored where this orientation turns it upright."""
    return upright.transpose(UNDO[orientation]) if orientation in UNDO else upright


def assert_upright(data: bytes, upright: Pillow.Image) -> None:
    header, pixels = read_header(data, max_pixels=LIMIT), decode(data, max_pixels=LIMIT)
    assert (header.width, header.height) == upright.size
    assert pixels.shape == (upright.height, upright.width, 3)
    assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 8


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


def tiff(picture: Pillow.Image, packet: bytes, tag: int | None = None) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags.tagtype[700] = packet, 1
    if tag is not None:
        tags[274], tags.tagtype[274] = tag, 3
    return encoded(picture, "TIFF", tiffinfo=tags)


EXIF = b"Exif\x00\x00"
XMP = b"http://ns.adobe.com/xap/1.0/\x00"
Writer = Callable[[Pillow.Image, int], bytes]
WRITERS: dict[str, Writer] = {
    "jpeg, exif": lambda p, o: jpeg(p, EXIF + exif(o)),
    "jpeg, xmp": lambda p, o: jpeg(p, XMP + xmp(o)),
    "jpeg, xmp in single quotes": lambda p, o: jpeg(p, XMP + xmp(o, SINGLE_QUOTES)),
    "jpeg, xmp element": lambda p, o: jpeg(p, XMP + xmp(o, ELEMENT)),
    "jpeg, xmp of another prefix": lambda p, o: jpeg(p, XMP + xmp(o, SINGLE_QUOTES, prefix="t")),
    "jpeg, exif of no sense and xmp": lambda p, o: jpeg(p, EXIF + exif(9), XMP + xmp(o)),
    "png, exif": lambda p, o: png(p, b"eXIf", exif(o), False),
    "png, late exif": lambda p, o: png(p, b"eXIf", exif(o), True),
    "png, xmp": lambda p, o: png(p, b"iTXt", text(xmp(o, SINGLE_QUOTES)), False),
    "png, late xmp": lambda p, o: png(p, b"iTXt", text(xmp(o)), True),
    "png, late packed xmp": lambda p, o: png(p, b"iTXt", text(xmp(o, ELEMENT), True), True),
    "png, profile": lambda p, o: png(p, b"zTXt", profile(b"exif", EXIF + exif(o)), False),
    "png, late profile": lambda p, o: png(p, b"zTXt", profile(b"APP1", EXIF + exif(o)), True),
    "png, late profile of xmp": lambda p, o: png(p, b"zTXt", profile(b"xmp", xmp(o)), True),
    "transparent png, late exif": lambda p, o: png(p.convert("RGBA"), b"eXIf", exif(o), True),
    "webp, exif": lambda p, o: encoded(p, "WEBP", lossless=True, exif=exif(o)),
    "webp, xmp": lambda p, o: encoded(p, "WEBP", lossless=True, xmp=xmp(o, SINGLE_QUOTES)),
    "tiff, xmp": lambda p, o: tiff(p, xmp(o)),
    "tiff, xmp in single quotes": lambda p, o: tiff(p, xmp(o, SINGLE_QUOTES)),
    "tiff, tag of no sense and xmp": lambda p, o: tiff(p, xmp(o, ELEMENT), tag=0),
    "tiff, tag and stale xmp": lambda p, o: tiff(p, xmp(1 + o % 8), tag=o),
    "avif, container": lambda p, o: encoded(p, "AVIF", quality=95, exif=exif(o)),
    "avif, exif": lambda p, o: only_exif(p, "AVIF", o),
    "avif, xmp": lambda p, o: encoded(p, "AVIF", quality=95, xmp=xmp(o, SINGLE_QUOTES)),
    "heif, container": lambda p, o: encoded(p, "HEIF", quality=95, exif=EXIF + exif(o)),
    "heif, exif": lambda p, o: only_exif(p, "HEIF", o),
    "heif, xmp": lambda p, o: encoded(p, "HEIF", quality=95, xmp=xmp(o, SINGLE_QUOTES)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_is_turned_by_whatever_tells_how(name: str, upright: Pillow.Image) -> None:
    for orientation in range(1, 9):
        assert_upright(WRITERS[name](held(upright, orientation), orientation), upright)


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_the_container_goes_before_exif_that_contradicts_it(form: str, upright: Pillow.Image) -> None:
    """A program that turned the container and left EXIF as it was."""
    for orientation, stale in ((6, 1), (6, 8), (3, 6), (8, 5)):
        marked = exif(stale, 296)
        block = Pillow.Exif()
        block.load(b"Exif\x00\x00" + marked)
        block[274] = orientation
        data = encoded(held(upright, orientation), form, quality=95, exif=block.tobytes())
        assert_upright(_retagged(data, stale), upright)


def _retagged(data: bytes, stale: int) -> bytes:
    """The container keeps its turn, and EXIF has the stale orientation in the place of the unit of resolution."""
    for order in ("little", "big"):
        unit = (296).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order) + stale.to_bytes(2, order)
        if unit in data:
            at = data.index(unit)
            return data[:at] + (274).to_bytes(2, order) + data[at + 2 :]
    raise AssertionError("The entry is not there.")


def test_exif_goes_before_xmp(upright: Pillow.Image) -> None:
    stored = held(upright, 6)
    late = with_chunk(png(stored, b"eXIf", exif(6), True), b"iTXt", text(xmp(3)), late=False)
    assert_upright(late, upright)
    assert_upright(jpeg(stored, XMP + xmp(3), EXIF + exif(6)), upright)


@pytest.mark.parametrize("block", [b"", b"II*\x00", b"junk", exif(0), exif(9), exif(255), exif(6)[:-8]])
def test_what_makes_no_sense_is_passed_over(block: bytes, upright: Pillow.Image) -> None:
    for data in (jpeg(upright, EXIF + block), png(upright, b"eXIf", block, True), png(upright, b"eXIf", block, False)):
        assert_upright(data, upright)
    for packet in (b"", b"<x", xmp(0), xmp(9), xmp(66)):
        assert_upright(jpeg(upright, XMP + packet), upright)
        assert_upright(png(upright, b"iTXt", text(packet), True), upright)
