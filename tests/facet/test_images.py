import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from facet.annotations import Annotation
from facet.errors import ImageError
from facet.jobs import FoundFace
from facet.pictures.codec import check, decode, read_header
from facet.pictures.drawing import annotated
from facet.pictures.jpeg import read_structure
from facet.pictures.png import read_chunks
from facet.settings import Settings
from tests.hostile.pictures import UNDO, chunk, claiming, encoded
from tests.support.images import picture

LIMIT = 10_000_000


@pytest.mark.parametrize(
    ("image_format", "media_type"),
    [("jpg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp"), ("bmp", "image/bmp"), ("tiff", "image/tiff")],
)
def test_formats_are_known_by_content(image_format: str, media_type: str) -> None:
    data = picture(60, 40, image_format)
    header = read_header(data, max_pixels=LIMIT)
    assert (header.media_type, header.width, header.height) == (media_type, 60, 40)
    assert decode(data, max_pixels=LIMIT).shape == (40, 60, 3)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x00" * 5000]
)
def test_other_bytes_are_no_picture(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels=LIMIT)
    assert caught.value.code == "not-a-picture"


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("GIF", {}),
        ("AVIF", {}),
    ],
)
@pytest.mark.parametrize("alpha", [False, True])
def test_a_truncated_picture_is_refused_or_is_whole(
    image_format: str, options: dict[str, Any], alpha: bool, photo: bytes
) -> None:
    picture = Pillow.open(io.BytesIO(photo)).resize((150, 100))
    if alpha:
        if image_format in ("JPEG", "BMP", "GIF") or options.get("compression") == "jpeg":
            pytest.skip("It has no alpha.")
        picture.putalpha(200)
    data = encoded(picture, image_format, **options)
    whole = decode(data, max_pixels=LIMIT)
    refused = 0
    for length in [len(data) * tenth // 20 for tenth in range(20)] + [len(data) - cut for cut in range(1, 20)]:
        try:
            assert np.array_equal(decode(data[:length], max_pixels=LIMIT), whole), f"{length} of {len(data)} bytes"
        except ImageError:
            refused += 1
    assert refused >= 15


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 4}], ids=str)
def test_a_jpeg_that_ends_early_but_properly_is_refused(mode: str, options: dict[str, Any], photo: bytes) -> None:
    """libjpeg paints the rest grey and says nothing."""
    data = encoded(Pillow.open(io.BytesIO(photo)).resize((300, 200)).convert(mode), "JPEG", **options)
    check(data, max_pixels=LIMIT)
    for length in range(len(data) // 4, len(data) * 9 // 10, 397):
        for judge in (check, decode):
            with pytest.raises(ImageError, match="cut short"):
                judge(data[:length] + b"\xff\xd9", max_pixels=LIMIT)


@pytest.mark.parametrize("level", [127, 128, 129])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_picture_of_just_that_grey_is_taken(mode: str, level: int) -> None:
    picture = Pillow.new("RGB", (200, 100), (level, level, level)).convert(mode)
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 3}):
        check(encoded(picture, "JPEG", **options), max_pixels=LIMIT)


def test_what_is_transparent_is_white() -> None:
    picture = Pillow.new("RGBA", (20, 10), (0, 0, 0, 0))
    picture.paste((200, 0, 0, 128), (10, 0, 20, 10))
    for image_format in ("PNG", "WEBP", "TIFF", "AVIF", "GIF"):
        options = {"lossless": True} if image_format == "WEBP" else {}
        pixels = decode(encoded(picture, image_format, **options), max_pixels=LIMIT)
        assert pixels[5, 2].tolist() == [255, 255, 255], image_format
        if image_format != "GIF":
            assert pixels[5, 15].tolist() == pytest.approx([227, 127, 127], abs=4), image_format
    palette = picture.convert("RGB").quantize(4)
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert decode(encoded(palette, "PNG"), max_pixels=LIMIT)[5, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bits_a_pixel_are_brought_to_8(image_format: str) -> None:
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    pixels = decode(encoded(Pillow.fromarray(ramp), image_format), max_pixels=LIMIT)
    assert np.abs(pixels[..., 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_of_several_frames_the_first_is_taken(image_format: str) -> None:
    colours = ["red", "lime", "blue"]
    first, *rest = [Pillow.new("RGB", (20, 10), colour) for colour in colours]
    pixels = decode(encoded(first, image_format, save_all=True, append_images=rest), max_pixels=LIMIT)
    assert pixels.shape == (10, 20, 3)
    assert pixels[5, 5].tolist() == pytest.approx([255, 0, 0], abs=8)


def test_a_cmyk_jpeg_has_its_colours() -> None:
    picture = Pillow.new("RGB", (32, 32), (200, 40, 90))
    pixels = decode(encoded(picture.convert("CMYK"), "JPEG", quality=95), max_pixels=LIMIT)
    assert pixels[16, 16].tolist() == pytest.approx([200, 40, 90], abs=6)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied_once(image_format: str, orientation: int, photo: bytes) -> None:
    upright = Pillow.open(io.BytesIO(photo)).resize((64, 32))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    undone = upright.transpose(UNDO[orientation]) if orientation in UNDO else upright
    data = encoded(undone, image_format, exif=exif, **({"quality": 95} if image_format == "JPEG" else {}))
    header, pixels = read_header(data, max_pixels=LIMIT), decode(data, max_pixels=LIMIT)
    assert (header.width, header.height) == (64, 32) and pixels.shape == (32, 64, 3)
    assert np.abs(pixels.astype(int) - np.asarray(upright)).mean() < 8


def test_a_side_too_long_is_refused_by_the_header() -> None:
    with pytest.raises(ImageError, match="a side") as caught:
        check(picture(20_000, 2), max_pixels=LIMIT)
    assert caught.value.code == "too-large"
    assert check(picture(20_000, 2), max_pixels=LIMIT, max_side=20_000).width == 20_000


def test_a_huge_jpeg_is_decoded_to_no_more_than_is_enough() -> None:
    data = picture(4000, 3000, "jpg")
    shapes = {side: decode(data, max_pixels=12_000_000, min_side=side).shape[:2] for side in (400, 600, 1999, 2500)}
    assert shapes == {400: (375, 500), 600: (750, 1000), 1999: (1500, 2000), 2500: (3000, 4000)}


def test_chunks_and_segments_without_end_are_refused() -> None:
    """Each is some work; a file of millions would keep a process busy."""
    png = picture(8, 8)
    with pytest.raises(ImageError, match="too many chunks"):
        read_chunks(png[:33] + chunk(b"abCd", b"") * 30_000 + png[33:])
    with pytest.raises(ImageError, match="too many segments"):
        read_structure(b"\xff\xd8" + b"\xff\xfe\x00\x02" * 30_000)
    assert read_structure(b"\xff" * 5_000_000).scans == 0


def test_a_huge_picture_is_refused_by_its_header() -> None:
    data = picture(4000, 3000)
    with pytest.raises(ImageError) as caught:
        decode(data, max_pixels=11_999_999)
    assert caught.value.code == "too-large"


def test_pixels_are_rgb_and_upright(tmp_path) -> None:  # type: ignore[no-untyped-def]
    upright = Pillow.new("RGB", (80, 40), (250, 10, 10))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.transpose(Pillow.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif)
    pixels = decode((tmp_path / "a.jpg").read_bytes(), max_pixels=LIMIT)
    assert pixels.shape == (40, 80, 3)
    assert pixels[20, 40, 0] > 200 and pixels[20, 40, 2] < 60


def test_drawn_faces_are_green_boxes_with_their_confidence_beneath() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    face = FoundFace(confidence=0.9987, box=[50, 40, 60, 80], keypoints={})
    drawn = decode(annotated(grey, [face], Annotation.BOXES), max_pixels=LIMIT).astype(int)
    green = (drawn[..., 1] > 170) & (drawn[..., 0] < 110) & (drawn[..., 2] < 110)
    rows, columns = np.nonzero(green)
    assert (columns.min(), rows.min()) == (pytest.approx(50, abs=1), pytest.approx(40, abs=1))
    assert green[60, 50] and green[60, 110] and green[120, 80]
    assert green[122:150, 50:120].sum() > 20, "no label beneath"
    assert not green[60:100, 60:100].any()


@pytest.mark.parametrize(("width", "height"), [(8192, 6144), (9248, 6936), (12_000, 6_000)])
def test_photos_of_cameras_of_50_and_64_megapixels_and_spheres_are_within_the_default(width: int, height: int) -> None:
    data = claiming(picture(image_format="jpg"), width, height)
    assert read_header(data, max_pixels=Settings().max_image_pixels).width == width
