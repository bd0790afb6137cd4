"""Which files `facet submit` takes for photos."""

import json
import os
from io import BytesIO
from pathlib import Path

import pytest
import typer
from PIL import Image as Pillow

from cli.photos import find, told
from facet.pictures.codec import MEDIA_TYPES, read_header
from facet.pictures.signatures import FIRST_BYTES, is_picture


def encoded(image_format: str, **options: object) -> bytes:
    file = BytesIO()
    Pillow.new("RGB", (32, 32)).save(file, image_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("image_format", [*MEDIA_TYPES, "MPO", "DIB"])
def test_what_is_taken_begins_as_a_picture(image_format: str) -> None:
    data = encoded(image_format)
    taken = image_format != "DIB"  # a BMP without its first header
    assert is_picture(data[:FIRST_BYTES]) is taken
    if taken:
        read_header(data, max_pixels=2000)


def test_tiff_of_either_order_and_size_begins_as_a_picture() -> None:
    assert is_picture(b"MM\0*\0\0\0\x08") and is_picture(encoded("TIFF", big_tiff=True)[:FIRST_BYTES])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"BM25 is a ranking function of its own",
        b"%PDF-1.7",
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42mdat",
        b"II*",
    ],
)
def test_other_files_do_not(data: bytes) -> None:
    assert not is_picture(data)


def test_a_folders_photos_are_found_by_content_and_the_rest_is_named(tmp_path: Path) -> None:
    jpeg = encoded("JPEG")
    photos = ["IMG_1.HEIC", "IMG_2", "a.jfif", "b.mpo", "c.txt", "day/broken.JPG", os.fsdecode(b"caf\xe9\n.jpg")]
    others = [".DS_Store", "._a.jfif", ".cache/d.jpg", "Thumbs.db", "a.xmp", "a.json", "IMG_1.AAE", "clip.mov"]
    for name in photos + others:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        hidden = name.startswith(".")
        file.write_bytes(b"x" if (name in others and not hidden) or "broken" in name else jpeg)
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "gone.jpg")
    found, left_out = find([str(tmp_path)])
    assert {name for _, name in found} == {*photos[:-1], "caf� .jpg"}
    assert set(left_out) == {*others, "lost.jpg"}


def test_what_is_left_out_is_told_in_a_line_of_bounded_length() -> None:
    names = [f"{number}.xmp" for number in range(1000)]
    assert told(names).startswith("Left out 1000 file(s) that are no photos: 0.xmp, 1.xmp,")
    assert told(names).endswith("9.xmp and 990 more.")
    assert json.loads(told(names, as_json=True)) == {"left_out": 1000, "names": names[:10]}


def test_a_folder_without_photos_is_said_to_hold_none_and_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.xmp").touch()
    with pytest.raises(typer.BadParameter, match=r"holds no photos\. Left out 1 .*: a\.xmp\."):
        find([str(tmp_path)])
