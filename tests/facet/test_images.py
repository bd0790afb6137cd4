import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from facet.errors import ImageError
from facet.images import decode, draw_faces, read_header
from facet.jobs import FoundFace
from tests.support.images import picture

LIMIT = 10_000_000


@pytest.mark.parametrize(
    ("form", "media_type"),
    [("jpg", "image/jpeg"), ("png", "image/png"), ("webp", "image/webp"), ("bmp", "image/bmp"), ("tiff", "image/tiff")],
)
def test_formats_are_known_by_content(form: str, media_type: str) -> None:
    data = picture(60, 40, form)
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


@pytest.mark.parametrize("form", ["jpg", "png", "bmp"])
def test_a_truncated_picture_does_not_decode(form: str, photo: bytes) -> None:
    pixels = decode(photo, max_pixels=LIMIT)
    data = cv2.imencode(f".{form}", pixels)[1].tobytes()
    with pytest.raises(ImageError) as caught:
        decode(data[: len(data) // 2], max_pixels=LIMIT)
    assert caught.value.code == "undecodable"


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
    drawn = decode(draw_faces(grey, [face]), max_pixels=LIMIT).astype(int)
    green = (drawn[..., 1] > 170) & (drawn[..., 0] < 110) & (drawn[..., 2] < 110)
    rows, columns = np.nonzero(green)
    assert (columns.min(), rows.min()) == (pytest.approx(50, abs=1), pytest.approx(40, abs=1))
    assert green[60, 50] and green[60, 110] and green[120, 80]
    assert green[122:150, 50:120].sum() > 20, "no label beneath"
    assert not green[60:100, 60:100].any()
