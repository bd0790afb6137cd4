"""One picture in all kinds of files: turned in each way, of each depth, cut, or of a kind that is not read."""

import io

import numpy as np
from PIL import Image as Pillow

from tests.hostile.cases import Case
from tests.hostile.held import WRITERS, held
from tests.hostile.pictures import chunk, encoded
from tests.hostile.raw import RAW
from tests.support.bmp import FIELDS, bmp
from tests.support.lossless_jpeg import lossless_jpeg
from tests.support.tiff import page, tiff

_CROP = (60, 20, 460, 320)
_FACE = [120, 45, 84, 108]


def kinds(photo: bytes) -> list[Case]:
    """`photo` is that of the examples; what is made of it is not square, so that a turn shows in its size."""
    picture = Pillow.open(io.BytesIO(photo)).convert("RGB").crop(_CROP)
    return [*_turned(picture), *_deep(picture), *_cut(picture), *_refused(picture)]


def _taken(name: str, category: str, data: bytes) -> Case:
    return Case(name, category, "decode", data, [_FACE], (400, 300))


def _turned(picture: Pillow.Image) -> list[Case]:
    """Two orientations of each way, other ones each time."""
    cases = []
    for number, (name, write) in enumerate(WRITERS.items()):
        for orientation in {2 + number % 7, 5 + number % 4}:
            data = write(held(picture, orientation), orientation)
            cases.append(_taken(f"{name}, {orientation}", "turned", data))
    return cases


def _deep(picture: Pillow.Image) -> list[Case]:
    rgb, grey = np.asarray(picture), np.asarray(picture.convert("L"))
    wide, colours = grey.astype(np.int64), rgb.astype(np.uint16)
    pages = {
        "16 bits": page((wide * 257).astype(np.uint16)),
        "16 bits, 0 is white": page((65535 - wide * 257).astype(np.uint16), photometric=0),
        "12 bits in 16": page((wide * 16).astype(np.uint16)),
        "12 bits in 16, 0 is white": page((4095 - wide * 16).astype(np.uint16), photometric=0),
        "8 bits in 16": page(wide.astype(np.uint16)),
        "32 bits": page((wide * 16843009).astype(np.uint32)),
        "signed": page((wide * 257 - 32768).astype(np.int16)),
        "floats": page((wide / 255).astype(np.float32)),
        "floats, 0 is white": page((1 - wide / 255).astype(np.float32), photometric=0),
        "colours of 16 bits": page(colours * 257),
        "colours of 12 bits in 16": page(colours * 16),
    }
    cases = [_taken(f"{name}.tif", "deep", tiff(each)) for name, each in pages.items()]
    small = page(rgb[::4, ::4], subfile=1)
    cases.append(_taken("small copy first.tif", "pages", tiff(small, page(rgb))))
    cases.append(_taken("small copy above.tif", "pages", tiff(page(rgb[::4, ::4], subfile=1, below=[page(rgb)]))))
    cases.append(_taken("document.tif", "pages", tiff(page(rgb), page(np.zeros((900, 900, 3), np.uint8)))))
    dark = Pillow.fromarray((wide * 16).astype(np.uint16))
    for name, (bits, masks) in FIELDS.items():
        cases.append(_taken(f"{name}.bmp", "fields", bmp(rgb, bits, masks, header=124)))
    return [*cases, _taken("12 bits in 16.png", "deep", encoded(dark, "PNG"))]


def _cut(picture: Pillow.Image) -> list[Case]:
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    scans = encoded(picture, "JPEG", progressive=True)
    cases = [
        _taken("without its end.jpg", "whole", jpeg[:-2]),
        _taken("without its last scan.jpg", "whole", scans[: scans.rindex(b"\xff\xda")]),
        _taken("without its end.png", "whole", png[:-12]),
        _taken("without its last checksum.png", "whole", png[:-4]),
        _taken("lossless grey.jpg", "whole", lossless_jpeg(np.asarray(picture.convert("L")))),
        Case("without its last block.jpg", "cut", "reject", jpeg[:-20], words="cut short"),
        Case("without its last rows.png", "cut", "reject", png[:-3000], words="undamaged"),
    ]
    for image_format in ("AVIF", "HEIF", "TIFF", "WEBP", "GIF"):
        data = encoded(picture, image_format)
        cases.append(Case(f"cut.{image_format.lower()}", "cut", "reject", data[: len(data) // 2], words="undamaged"))
    return cases


def _refused(picture: Pillow.Image) -> list[Case]:
    jpeg, png, rgb = encoded(picture, "JPEG"), encoded(picture, "PNG"), np.asarray(picture)
    frame = jpeg.index(b"\xff\xc0")
    others = {
        "12 bits.jpg": (jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :], "a 12-bit JPEG"),
        "late height.jpg": (jpeg[: frame + 5] + b"\x00\x00" + jpeg[frame + 7 :], "DNL"),
        "device.png": (png[:8] + chunk(b"CgBI", b"\x50\x00\x20\x02") + png[8:], "CgBI"),
        "jpeg 2000.tif": (tiff(page(rgb, compression=33003)), "JPEG 2000 compression"),
        "webp.tif": (tiff(page(rgb, compression=50001)), "WebP compression"),
        "floats.tif": (tiff(page(rgb.astype(np.float32))), "32-bit floating-point"),
        "doubles.tif": (tiff(page(rgb[..., 0].astype(np.float64))), "64-bit floating-point"),
        "32 bits.tif": (tiff(page(rgb.astype(np.uint32))), "32-bit unsigned"),
    }
    raw = {f"raw, {name}": (make(), "camera's raw file") for name, make in RAW.items()}
    return [Case(name, "refused", "reject", data, words=words) for name, (data, words) in (others | raw).items()]
