"""BMP files of unusual layouts: fields of bits, and a cover that hides all."""

import io
import struct

import numpy as np
import pytest
from PIL import Image as Pillow

from facet.errors import ImageError
from facet.pictures.codec import Pixels, check, decode
from tests.support.bmp import FIELDS, bmp

LIMIT = 10_000_000


@pytest.fixture(scope="module")
def pixels(photo: bytes) -> Pixels:
    """101 pixels wide, so that rows of 16 bits have padding."""
    return np.asarray(Pillow.open(io.BytesIO(photo)).convert("RGB").resize((101, 70)))


def decoded(data: bytes) -> Pixels:
    header = check(data, max_pixels=LIMIT)
    found = decode(data, max_pixels=LIMIT)
    assert found.shape == (header.height, header.width, 3)
    return found


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize("top_down", [False, True])
def test_fields_of_bits_are_read_whatever_their_layout(name: str, header: int, top_down: bool, pixels: Pixels) -> None:
    found = decoded(bmp(pixels, *FIELDS[name], header=header, top_down=top_down))
    step = 255 // min((1 << mask.bit_count()) - 1 for mask in FIELDS[name][1][:3])
    assert np.abs(found.astype(int) - pixels).max() <= step // 2 + 1


@pytest.mark.parametrize("cover", [0, 255])
def test_a_cover_of_nothing_hides_nothing(cover: int, pixels: Pixels) -> None:
    assert np.array_equal(decoded(bmp(pixels, *FIELDS["BGRA"], header=124, cover=cover)), pixels)


def test_what_is_half_transparent_is_over_white(pixels: Pixels) -> None:
    found = decoded(bmp(pixels, *FIELDS["BGRA"], header=124, cover=128))
    assert np.abs(found - (pixels * (128 / 255) + 127)).max() <= 1


def test_one_that_is_cut_or_too_large_is_refused(pixels: Pixels) -> None:
    data = bmp(pixels, *FIELDS["565"], header=124)
    for broken, code in (
        (data[:-300], "undecodable"),
        (data[:18] + struct.pack("<ii", 9999, 9999) + data[26:], "too-large"),
    ):
        with pytest.raises(ImageError) as refused:
            check(broken, max_pixels=LIMIT)
        assert refused.value.code == code


@pytest.mark.parametrize(("compression", "name"), [(4, "JPEG"), (5, "PNG")])
def test_a_picture_in_the_guise_of_a_bmp_is_named(compression: int, name: str, photo: bytes) -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 512, 512, 1, 0, compression, len(photo), 0, 0, 0, 0)
    with pytest.raises(ImageError, match=f"holds a {name} picture") as refused:
        check(b"BM" + struct.pack("<III", 54 + len(photo), 0, 54) + head + photo, max_pixels=LIMIT)
    assert refused.value.code == "unsupported"
