"""Pictures of more than 8 bits a channel look as they were meant to, whatever their numbers mean."""

import io
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from facet.pictures.codec import decode
from tests.hostile.pictures import encoded
from tests.support.tiff import SHORT, page, tiff

LIMIT = 10_000_000
U8, U16, U32 = np.uint8, np.uint16, np.uint32


@pytest.fixture(scope="module")
def rgb(photo: bytes) -> NDArray[np.uint8]:
    return np.asarray(Pillow.open(io.BytesIO(photo)).convert("RGB").resize((96, 64)))


@pytest.fixture(scope="module")
def grey(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    values = np.asarray(Pillow.fromarray(rgb).convert("L")).copy()
    values[0, 0], values[0, 1] = 0, 255  # so that its extent is known
    return values


def assert_looks_like(data: bytes, expected: NDArray[np.uint8]) -> None:
    expected = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    assert np.abs(decode(data, max_pixels=LIMIT).astype(int) - expected).max() <= 2


def bits(values: NDArray[Any], count: int, kind: Any = U16) -> NDArray[Any]:
    """The values in this many bits."""
    return np.rint(values.astype(np.float64) * (2**count - 1) / 255).astype(kind)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [8, 10, 12, 14, 16])
def test_a_tiff_of_fewer_bits_than_its_numbers_hold_is_not_dark(
    order: str, count: int, grey: NDArray[np.uint8], rgb: NDArray[np.uint8]
) -> None:
    alpha = np.dstack([rgb, np.full(grey.shape, 255, U8)])
    inks = np.asarray(Pillow.fromarray(rgb).convert("CMYK"))
    for values, expected, tags in (
        (grey, grey, {}),
        (rgb, rgb, {}),
        (alpha, rgb, {"tag338": 2}),
        (inks, rgb, {"photometric": 5}),
    ):
        assert_looks_like(tiff(page(bits(values, count), order=order, **tags), order=order), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma"])
def test_nor_is_a_compressed_one(compression: str, grey: NDArray[np.uint8]) -> None:
    assert_looks_like(encoded(Pillow.fromarray(bits(grey, 12)), "TIFF", compression=compression), grey)


def test_nor_one_compressed_of_three_channels(rgb: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".tiff", bits(rgb, 12)[..., ::-1])
    assert done
    assert_looks_like(data.tobytes(), rgb)


@pytest.mark.parametrize("count", [8, 10, 12, 14, 16])
def test_nor_is_a_png(count: int, grey: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> None:
    for values, expected in ((grey, grey), (rgb[..., ::-1], rgb)):
        done, data = cv2.imencode(".png", bits(values, count))
        assert done
        assert_looks_like(data.tobytes(), expected)
    opaque = np.dstack([bits(rgb[..., ::-1], count), np.full(grey.shape, 65535, U16)])
    assert_looks_like(cv2.imencode(".png", opaque)[1].tobytes(), rgb)


def test_a_dark_picture_of_16_bits_keeps_its_transparency(rgb: NDArray[np.uint8]) -> None:
    alpha = np.full(rgb.shape[:2], 65535, U16)
    alpha[:, 48:] = 0
    pixels = cv2.imencode(".png", np.dstack([bits(rgb[..., ::-1], 12), alpha]))[1].tobytes()
    expected = rgb.copy()
    expected[:, 48:] = 255
    assert_looks_like(pixels, expected)


def test_what_a_tiff_states_as_its_largest_value_is_white(grey: NDArray[np.uint8]) -> None:
    half = grey // 2
    assert_looks_like(tiff(page(bits(half, 9), tag281=511)), half)
    assert_looks_like(tiff(page(bits(half, 12), tag341=4095)), half)


@pytest.mark.parametrize("count", [12, 16])
def test_white_is_0_where_a_tiff_says_so(count: int, grey: NDArray[np.uint8]) -> None:
    assert_looks_like(tiff(page(bits(255 - grey, count), photometric=0)), grey)
    assert_looks_like(tiff(page(255 - grey, photometric=0)), grey)
    assert_looks_like(tiff(page((1 - grey / 255).astype(np.float32), photometric=0)), grey)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_tiff_of_few_bits_is_read_in_either_polarity(count: int, photometric: int, grey: NDArray[np.uint8]) -> None:
    levels = grey >> (8 - count)
    stored = levels if photometric else 2**count - 1 - levels
    packed = np.zeros((grey.shape[0], grey.shape[1] * count // 8), U8)
    for place in range(8 // count):
        packed |= (stored[:, place :: 8 // count] << (8 - count * (place + 1))).astype(U8)
    each = page(grey, bits=count, photometric=photometric)
    each.strip = packed.tobytes()
    assert_looks_like(tiff(each), (levels.astype(int) * 255 // (2**count - 1)).astype(U8))


def test_other_numbers_of_one_channel_are_scaled(grey: NDArray[np.uint8]) -> None:
    wide = grey.astype(np.int64)
    for values in (
        bits(grey, 32, U32),
        bits(grey, 16, U32),
        bits(grey, 12, U32),
        (wide - 128).astype(np.int8),
        (wide * 257 - 32768).astype(np.int16),
        bits(grey, 15, np.int16),
        bits(grey, 12, np.int16),
        (wide * 2**24 - 2**31).astype(np.int32),
        (grey / 255).astype(np.float32),
        grey.astype(np.float32),
        (wide * 257).astype(np.float32),
        (wide * 1e6 - 5e7).astype(np.float32),
    ):
        assert_looks_like(tiff(page(values)), grey)


def test_numbers_that_are_none_spoil_nothing_else(grey: NDArray[np.uint8]) -> None:
    values, expected = (grey / 255).astype(np.float32), grey.copy()
    for column, (value, seen) in enumerate([(np.nan, 0), (np.inf, 255), (-np.inf, 0)], 40):
        values[9, column], expected[9, column] = value, seen
    assert_looks_like(tiff(page(values)), expected)
    assert decode(tiff(page(np.full((4, 5), np.nan, np.float32))), max_pixels=LIMIT).max() == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_have_their_order_where_they_are_compressed_too(order: str, grey: NDArray[np.uint8]) -> None:
    wide = grey.astype(np.int64)
    for values in (
        (wide * 257).astype(U16),
        (wide * 257 - 32768).astype(np.int16),
        (wide * 2**24 - 2**31).astype(np.int32),
        (grey / 255).astype(np.float32),
    ):
        each = page(values, order=order, compression=8)
        each.strip = zlib.compress(each.strip)
        assert_looks_like(tiff(each, order=order), grey)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [12, 16])
def test_planes_of_16_bits_are_read(count: int, order: str, rgb: NDArray[np.uint8]) -> None:
    values = bits(rgb, count)
    each = page(values, order=order, tag284=2)
    planes = values.transpose(2, 0, 1)
    each.strip, each.planes = planes.astype(planes.dtype.newbyteorder(order)).tobytes(), 3
    assert_looks_like(tiff(each, order=order), rgb)


@pytest.mark.parametrize("unit", [1, 257])
def test_a_palette_of_8_bits_is_not_black(unit: int, rgb: NDArray[np.uint8]) -> None:
    picture = Pillow.fromarray(rgb).quantize(256)
    each = page(np.asarray(picture), photometric=3)
    colours = np.array(picture.getpalette(), int).reshape(-1, 3)
    each.tags[320] = (
        SHORT,
        [int(value) * unit for value in np.pad(colours, ((0, 256 - len(colours)), (0, 0))).T.ravel()],
    )
    assert_looks_like(tiff(each), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("value", [0, 1, 255, 65535])
def test_a_picture_of_one_value_is_no_error(value: int) -> None:
    for kind in (U16, U32, np.float32):
        assert decode(tiff(page(np.full((4, 5), value, kind))), max_pixels=LIMIT).shape == (4, 5, 3)
