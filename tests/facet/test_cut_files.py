"""A file is taken if every pixel is there, whatever else its end lacks; what is refused is told what it is."""

import io
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from facet.errors import ImageError
from facet.pictures.codec import Pixels, check, decode
from facet.pictures.jpeg import read_structure
from tests.hostile.pictures import chunk, encoded
from tests.support.lossless_jpeg import lossless_jpeg

LIMIT = 10_000_000


@pytest.fixture(scope="module")
def small(photo: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(photo)).convert("RGB").resize((75, 53))


def taken(data: bytes) -> Pixels | None:
    """The pixels, or None where the file is refused, at the door as in the worker."""
    try:
        check(data, max_pixels=LIMIT)
    except ImageError as error:
        assert error.code == "undecodable"
        with pytest.raises(ImageError):
            decode(data, max_pixels=LIMIT)
        return None
    return decode(data, max_pixels=LIMIT)


def refusal(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        check(data, max_pixels=LIMIT)
    return caught.value


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 3}], ids=str)
def test_a_jpeg_that_lacks_only_its_end_is_taken(mode: str, options: dict[str, Any], small: Pillow.Image) -> None:
    for quality in (40, 75, 88, 95):
        data = encoded(small.convert(mode), "JPEG", quality=quality, **options)
        whole = decode(data, max_pixels=LIMIT)
        for cut in (1, 2):
            pixels = taken(data[:-cut])
            assert pixels is not None and np.array_equal(pixels, whole)
        for cut in range(3, 60):
            assert taken(data[:-cut]) is None, f"{cut} bytes are missing, and so are pixels"


def means(pixels: Pixels) -> NDArray[np.int64]:
    """Of each block of 8 by 8."""
    return np.asarray(Pillow.fromarray(pixels).reduce(8)).astype(np.int64)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_is_taken_once_each_pixel_has_a_value(mode: str, small: Pillow.Image) -> None:
    data = encoded(small.convert(mode), "JPEG", progressive=True)
    whole = decode(data, max_pixels=LIMIT)
    pixels = taken(data[:-2])
    assert pixels is not None and np.array_equal(pixels, whole)
    first = read_structure(data).starts[-1][1]
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    assert len(scans) > 3
    for end in [*scans[1:], *range(first, len(data), 97)]:
        pixels = taken(data[:end]) if end >= first else whole
        assert pixels is not None, f"the first scan is whole at {first}, and the file ends at {end}"
        assert np.abs(means(pixels) - means(whole)).mean() < 15
    for end in range(first - 150, first, 7):
        assert taken(data[:end]) is None
        assert taken(data[:end] + b"\xff\xd9") is None


def scan_by_scan(picture: Pillow.Image) -> bytes:
    """A baseline JPEG with a scan for each of its colours: those of three grey ones."""
    planes = [encoded(plane, "JPEG", quality=90) for plane in picture.convert("YCbCr").split()]
    first, scan = planes[0], b"\xff\xda\x00\x08\x01"
    frame = first.index(b"\xff\xc0")
    head = first[frame + 4 : frame + 9] + bytes([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    tables = first[frame + 2 + int.from_bytes(first[frame + 2 : frame + 4]) : first.index(scan)]
    data = first[:frame] + b"\xff\xc0\x00\x11" + head + tables
    for number, plane in enumerate(planes, 1):
        data += scan + bytes([number]) + plane[plane.index(scan) + 6 : -2]
    return data + b"\xff\xd9"


def test_a_jpeg_that_lacks_some_of_a_colour_is_refused(small: Pillow.Image) -> None:
    """It would be green below."""
    data = scan_by_scan(small)
    assert np.abs(decode(data, max_pixels=LIMIT).astype(int) - np.asarray(small)).mean() < 6
    assert taken(data[:-2]) is not None
    starts = read_structure(data).starts
    assert len(starts) == 3
    for length in [end for _, end in starts[:-1]] + list(range(starts[-1][0] + 10, len(data) - 3, 37)):
        assert taken(data[:length]) is None
        assert taken(data[:length] + b"\xff\xd9") is None


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_a_png_is_taken_once_its_pixels_are_there(mode: str, small: Pillow.Image) -> None:
    data = encoded(small.convert(mode), "PNG")
    whole = decode(data, max_pixels=LIMIT)
    for cut in range(1, 21):  # the end, and the checksums of the pixels
        pixels = taken(data[:-cut])
        assert pixels is not None and np.array_equal(pixels, whole), cut
    for cut in range(60, 2000, 50):
        pixels = taken(data[:-cut])
        assert pixels is None
    assert np.array_equal(decode(data[:-12] + chunk(b"tEXt", b"a\x00b"), max_pixels=LIMIT), whole)


@pytest.mark.parametrize("image_format", ["AVIF", "HEIF", "TIFF", "WEBP", "GIF", "PNG", "JPEG", "BMP"])
def test_a_cut_file_is_told_that_it_is_cut(image_format: str, small: Pillow.Image) -> None:
    data = encoded(small, image_format)
    whole = decode(data, max_pixels=LIMIT)
    for length in range(40, len(data), max(1, len(data) // 40)):
        try:
            assert np.abs(decode(data[:length], max_pixels=LIMIT).astype(int) - whole).max() == 0
        except ImageError as error:
            assert error.code == "undecodable", f"{length} of {len(data)} bytes: {error}"
    moving = encoded(small, "AVIF", save_all=True, append_images=[small.rotate(90)])
    assert refusal(moving[:-1]).code == "undecodable"


def grey(small: Pillow.Image) -> NDArray[np.uint8]:
    return np.asarray(small.convert("L"))


def test_a_lossless_grey_jpeg_is_read(small: Pillow.Image) -> None:
    data = lossless_jpeg(grey(small))
    pixels = taken(data)
    assert pixels is not None and np.array_equal(pixels, np.dstack([grey(small)] * 3))
    assert taken(data[:-2]) is not None
    for length in range(len(data) // 2, len(data) - 20, 101):
        assert taken(data[:length]) is None
        assert taken(data[:length] + b"\xff\xd9") is None


def patched(jpeg: bytes, at: int, value: bytes, marker: bytes = b"\xff\xc0") -> bytes:
    """The JPEG with other bytes in its frame header."""
    start = jpeg.index(marker) + at
    return jpeg[:start] + value + jpeg[start + len(value) :]


def test_a_jpeg_of_a_kind_that_is_not_read_is_named(small: Pillow.Image) -> None:
    jpeg = encoded(small, "JPEG")
    for data, words in (
        (patched(jpeg, 4, b"\x0c"), "a 12-bit JPEG"),
        (lossless_jpeg(grey(small).astype(np.uint16) * 257, 16), "a lossless 16-bit JPEG"),
        (patched(jpeg, 5, b"\x00\x00"), "DNL"),
        (patched(jpeg, 1, b"\xc5"), "a hierarchical JPEG"),
        (patched(jpeg, 1, b"\xf7"), "a JPEG-LS picture"),
    ):
        error = refusal(data)
        assert error.code == "unsupported" and words in str(error)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"II\xbc\x01", "JPEG XR"),
        (b"8BPS", "Photoshop"),
        (b"\x00\x00\x00\x18ftyphevc\x00\x00\x00\x00hevcmsf1", "HEIC sequence"),
    ],
)
def test_a_picture_of_another_format_is_named(head: bytes, words: str) -> None:
    error = refusal(head + bytes(400))
    assert error.code == "unsupported" and words in str(error)


def test_the_png_of_a_device_is_named(small: Pillow.Image) -> None:
    png = encoded(small, "PNG")
    error = refusal(png[:8] + chunk(b"CgBI", b"\x50\x00\x20\x02") + png[8:])
    assert error.code == "unsupported" and "CgBI" in str(error)
