"""Hostile files that the project makes itself, of the same kinds as those of `shared/data/hostile`."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tests.hostile.cases import Case

UNDO = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}
"""What stores an upright picture so that the EXIF orientation is right for it."""


def encoded(picture: Pillow.Image, image_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, image_format, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flat_png(side: int) -> bytes:
    """A real, black picture of one bit a pixel, of some kilobytes whatever its side."""
    packer, row = zlib.compressobj(9), bytes(1 + (side + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb(photo: Pillow.Image, *, kind: bytes, late: bool) -> bytes:
    """A small PNG with compressed texts of 800 MB in all, before its pixels or after them."""
    packed = zlib.compress(bytes(8_000_000), 9)
    head = b"k\x00\x00" if kind == b"zTXt" else b"k\x00\x01\x00\x00\x00"
    texts, png = chunk(kind, head + packed) * 100, encoded(photo.resize((64, 64)), "PNG")
    at = len(png) - 12 if late else 33
    return png[:at] + texts + png[at:]


def claiming(jpeg: bytes, width: int, height: int) -> bytes:
    """The JPEG with another size in its header."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def webp_claiming(side: int) -> bytes:
    """A lossless WebP of a few bytes with this size in its header."""
    data = bytearray(encoded(Pillow.new("RGB", (64, 64), "red"), "WEBP", lossless=True))
    size = int.from_bytes(data[21:25], "little") & ~0xFFFFFFF | (side - 1) | (side - 1) << 14
    data[21:25] = size.to_bytes(4, "little")
    return bytes(data)


def many_scans(photo: Pillow.Image, count: int = 3000) -> bytes:
    """A progressive JPEG that repeats its last scan, for each of which a decoder goes through the whole picture."""
    data = encoded(photo, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def gif_of(frames: int) -> bytes:
    """Noise, so that no frame is like the one before."""
    noise = np.random.default_rng(0)
    pictures = [Pillow.fromarray(noise.integers(0, 255, (64, 64), np.uint8)) for _ in range(frames)]
    return encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:])


def generated(photo: bytes) -> list[Case]:
    """Each kind once or a few times; `photo` has one face."""
    picture = Pillow.open(io.BytesIO(photo)).convert("RGB")
    box = [180, 65, 84, 108]

    def case(name: str, category: str, expect: str, data: bytes, faces: list[list[int]] | None = None) -> Case:
        return Case(name, category, expect, data, faces)

    cases = [case("photo.jpg", "formats", "decode", photo, [box])]
    for image_format, options in (
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("GIF", {}),
        ("AVIF", {}),
    ):
        cases.append(
            case(f"face.{image_format.lower()}", "formats", "decode", encoded(picture, image_format, **options), [box])
        )
    for mode in ("L", "CMYK"):
        cases.append(case(f"{mode}.jpg", "formats", "decode", encoded(picture.convert(mode), "JPEG"), [box]))
    deep = Pillow.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    cases.append(case("16bit.png", "formats", "decode", encoded(deep, "PNG"), [box]))
    palette = picture.quantize(256)
    cases.append(case("palette.png", "formats", "decode", encoded(palette, "PNG"), [box]))
    see_through = picture.convert("RGBA")
    see_through.putalpha(0)
    cases.append(case("transparent.png", "formats", "decode", encoded(see_through, "PNG"), []))
    for orientation in range(1, 9):
        cases.append(case(f"exif_{orientation}.jpg", "exif", "decode", turned(picture, orientation), [box]))
    cases += [
        case("black.png", "size", "decode", encoded(Pillow.new("L", (512, 512)), "PNG"), []),
        case("one.png", "size", "decode", encoded(Pillow.new("RGB", (1, 1)), "PNG"), []),
        case("wide.jpg", "size", "decode", encoded(Pillow.new("RGB", (4000, 1)), "JPEG"), []),
        case("too_wide.png", "size", "decode", encoded(Pillow.new("L", (20_000, 12)), "PNG")),
        case("cut.jpg", "truncated", "reject", photo[: len(photo) // 2]),
        case("cut_and_ended.jpg", "truncated", "reject", photo[: len(photo) // 2] + b"\xff\xd9"),
        case("cut.png", "truncated", "reject", encoded(picture, "PNG")[:-5000]),
        case("empty.jpg", "truncated", "reject", b""),
        case("soi.jpg", "truncated", "reject", b"\xff\xd8"),
        case("flips.jpg", "truncated", "no-crash", flipped(photo)),
        case("png_20000.png", "bomb", "reject", flat_png(20_000)),
        case("webp_16383.webp", "bomb", "reject", webp_claiming(16_383)),
        case("jpeg_9000.jpg", "bomb", "reject", claiming(encoded(picture, "JPEG"), 9000, 9000)),
        case("texts_before.png", "bomb", "reject", text_bomb(picture, kind=b"zTXt", late=False)),
        case("texts_after.png", "bomb", "reject", text_bomb(picture, kind=b"iTXt", late=True)),
        case("scans.jpg", "bomb", "reject", many_scans(picture)),
        case("frames.gif", "gif-webp", "decode", gif_of(2000), []),
        case("page.jpg", "disguise", "reject", b"<html><script>alert(1)</script></html>"),
        case("drawing.svg", "disguise", "reject", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        case("paper.jpg", "disguise", "reject", b"%PDF-1.7\n1 0 obj"),
        case("jpeg_named.png", "disguise", "decode", photo, [box]),
    ]
    return cases


def turned(picture: Pillow.Image, orientation: int) -> bytes:
    """The picture stored so that this EXIF orientation shows it upright."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = picture.transpose(UNDO[orientation]) if orientation in UNDO else picture
    return encoded(stored, "JPEG", exif=exif, quality=92)


def flipped(jpeg: bytes) -> bytes:
    """The JPEG with bits of its scan wrong."""
    data = bytearray(jpeg)
    for at in np.random.default_rng(0).integers(len(data) // 2, len(data) - 100, 40):
        data[at] ^= 0x10
    return bytes(data)
