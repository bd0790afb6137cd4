"""Each way in which a picture tells how it was held, in each format that has it."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from facet.pictures.codec import decode, read_header
from tests.hostile.held import EXIF, WRITERS, XMP, held, jpeg, png, text
from tests.hostile.pictures import encoded
from tests.support.metadata import exif, with_chunk, xmp

LIMIT = 10_000_000
SIZE = (96, 64)


@pytest.fixture(scope="module")
def upright(photo: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(photo)).convert("RGB").resize(SIZE)


def assert_upright(data: bytes, upright: Pillow.Image) -> None:
    header, pixels = read_header(data, max_pixels=LIMIT), decode(data, max_pixels=LIMIT)
    assert (header.width, header.height) == upright.size
    assert pixels.shape == (upright.height, upright.width, 3)
    assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 8


@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_is_turned_by_whatever_tells_how(name: str, upright: Pillow.Image) -> None:
    for orientation in range(1, 9):
        assert_upright(WRITERS[name](held(upright, orientation), orientation), upright)


@pytest.mark.parametrize("image_format", ["AVIF", "HEIF"])
def test_the_container_goes_before_exif_that_contradicts_it(image_format: str, upright: Pillow.Image) -> None:
    """A program that turned the container and left EXIF as it was."""
    for orientation, stale in ((6, 1), (6, 8), (3, 6), (8, 5)):
        marked = exif(stale, 296)
        block = Pillow.Exif()
        block.load(b"Exif\x00\x00" + marked)
        block[274] = orientation
        data = encoded(held(upright, orientation), image_format, quality=95, exif=block.tobytes())
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
