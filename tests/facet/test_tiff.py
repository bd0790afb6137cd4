"""Which page of a TIFF is the photo, and which files that call themselves TIFF are refused by their name."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from facet.errors import ImageError
from facet.pictures.codec import check, decode, read_header
from tests.hostile.pictures import UNDO, encoded
from tests.hostile.raw import RAW
from tests.support.tiff import SHORT, Page, page, tiff

LIMIT = 10_000_000
REDUCED, SINGLE_PAGE, MASK = 1, 2, 4


@pytest.fixture(scope="module")
def photo_pixels(photo: bytes) -> NDArray[np.uint8]:
    return np.asarray(Pillow.open(io.BytesIO(photo)).convert("RGB").resize((96, 64)))


def assert_is(data: bytes, pixels: NDArray[np.uint8]) -> None:
    header = read_header(data, max_pixels=LIMIT)
    assert (header.media_type, header.height, header.width) == ("image/tiff", *pixels.shape[:2])
    assert np.array_equal(decode(data, max_pixels=LIMIT), pixels)


def code_and_words(data: bytes) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        check(data, max_pixels=LIMIT)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_the_largest_full_page_is_taken_where_the_first_is_a_small_copy(
    order: str, big: bool, photo_pixels: NDArray[np.uint8]
) -> None:
    photo = page(photo_pixels, order=order)
    small = page(photo_pixels[::4, ::4], order=order, subfile=REDUCED)
    middle = page(photo_pixels[::2, ::2], order=order)
    larger_mask = page(np.zeros((200, 200), np.uint8), order=order, subfile=MASK)
    for pages in (
        [small, photo],
        [small, middle, photo, larger_mask],
        [larger_mask, small, photo],
        [replaced(small, below=[middle, photo])],
        [replaced(small, below=[middle]), photo],
        [without(small, 254, tag255=2), photo],
    ):
        assert_is(tiff(*pages, order=order, big=big), photo_pixels)


def replaced(small: Page, *, below: list[Page]) -> Page:
    return Page(small.tags, small.strip, below)


def without(each: Page, tag: int, **more: int) -> Page:
    """The page marked by the older tag for the same."""
    tags = {number: value for number, value in each.tags.items() if number != tag}
    return Page(tags | {int(name[3:]): (SHORT, [value]) for name, value in more.items()}, each.strip)


def test_the_first_page_of_a_document_is_taken_whatever_follows(photo_pixels: NDArray[np.uint8]) -> None:
    larger = np.zeros((200, 300, 3), np.uint8)
    for first in (
        page(photo_pixels),
        page(photo_pixels, subfile=SINGLE_PAGE),
        without(page(photo_pixels), 254, tag255=3),
    ):
        assert_is(tiff(first, page(larger), page(larger, subfile=SINGLE_PAGE)), photo_pixels)
    pyramid = page(photo_pixels, below=[page(photo_pixels[::2, ::2], subfile=REDUCED)])
    assert_is(tiff(pyramid, page(photo_pixels[::2, ::2], subfile=REDUCED)), photo_pixels)


def test_a_small_copy_that_is_all_there_is_is_taken(photo_pixels: NDArray[np.uint8]) -> None:
    assert_is(tiff(page(photo_pixels, subfile=REDUCED)), photo_pixels)
    assert_is(tiff(page(photo_pixels[::2, ::2], subfile=REDUCED), page(photo_pixels, subfile=REDUCED)), photo_pixels)


def test_the_page_that_is_taken_is_turned_by_its_own_tag(photo_pixels: NDArray[np.uint8]) -> None:
    upright = Pillow.fromarray(photo_pixels)
    for orientation in (3, 6, 8):
        photo = page(np.asarray(upright.transpose(UNDO[orientation])), tag274=orientation)
        assert_is(tiff(page(photo_pixels[::4, ::4], subfile=REDUCED), photo), photo_pixels)


def test_a_file_that_is_cut_behind_its_small_copy_is_not_taken_for_it(photo_pixels: NDArray[np.uint8]) -> None:
    whole = encoded(Pillow.fromarray(photo_pixels[::4, ::4]), "TIFF", tiffinfo={254: 1})
    ifd = struct.unpack_from("<I", whole, 4)[0]
    following = ifd + 2 + 12 * struct.unpack_from("<H", whole, ifd)[0]
    cut = whole[:following] + struct.pack("<I", len(whole) + 10_000) + whole[following + 4 :]
    assert code_and_words(cut) == (
        "undecodable",
        "The TIFF file is cut short: its first page is a small copy, and others are missing.",
    )


@pytest.mark.parametrize("make", RAW)
def test_camera_raw_is_refused_by_its_name(make: str) -> None:
    code, words = code_and_words(RAW[make]())
    assert code == "unsupported" and "camera's raw file" in words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint8), compression=33003)), "JPEG 2000 compression"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint8), compression=34712)), "JPEG 2000 compression"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint8), compression=50001)), "WebP compression"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint8), compression=50002)), "JPEG XL compression"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint8), compression=34887)), "LERC compression"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint8), compression=12345)), r"unknown \(12345\) compression"),
        (lambda: tiff(page(np.ones((20, 30), np.uint8), order=">"), order=">", big=True), "big-endian BigTIFF"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.float32))), "3 channels of 32-bit floating-point numbers"),
        (lambda: tiff(page(np.ones((20, 30)))), "one channel of 64-bit floating-point numbers"),
        (lambda: tiff(page(np.ones((20, 30), np.float16))), "16-bit floating-point numbers"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.uint32))), "3 channels of 32-bit unsigned integers"),
        (lambda: tiff(page(np.ones((20, 30, 3), np.int16))), "3 channels of 16-bit signed integers"),
        (lambda: tiff(page(np.ones((20, 30, 2), np.uint16), photometric=1, tag338=2)), "2 channels of 16-bit"),
        (
            lambda: tiff(page(np.ones((20, 30, 4), np.uint16), photometric=5, tag284=2)),
            "planes that are not compressed",
        ),
        (lambda: tiff(page(np.ones((20, 30), np.uint16), photometric=3)), "16-bit unsigned integers .palette"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tiff_that_is_not_read_is_named(data: Callable[[], bytes], words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        check(data(), max_pixels=LIMIT)
    assert caught.value.code == "unsupported"


def test_pages_without_end_are_no_work() -> None:
    """A hundred pages are looked at, and each once."""
    many = [page(np.ones((2, 2), np.uint8), subfile=REDUCED) for _ in range(5_000)]
    check(tiff(*many), max_pixels=LIMIT)
    looped = bytearray(tiff(page(np.ones((2, 2), np.uint8), subfile=REDUCED)))
    looped[-4:] = looped[4:8]
    check(bytes(looped), max_pixels=LIMIT)


def test_a_fourth_channel_of_zeros_that_nothing_explains_hides_nothing(photo_pixels: NDArray[np.uint8]) -> None:
    fourth = np.zeros_like(photo_pixels[..., :1])
    assert_is(tiff(page(np.dstack([photo_pixels, fourth]))), photo_pixels)
    assert_is(tiff(page(np.dstack([photo_pixels, fourth]).astype(np.uint16) * 257)), photo_pixels)
    told = page(np.dstack([photo_pixels, fourth]))
    told.tags[338] = (SHORT, [2])
    assert_is(tiff(told), np.full_like(photo_pixels, 255))
