"""Pictures as bytes and as pixels: recognise and decode."""

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pillow

from facet.errors import ImageError
from facet.structure import pixel_chunks, scan_ends

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
with suppress(ImportError):  # the extra `heif`
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)
    MEDIA_TYPES["HEIF"] = "image/heic"
FORMATS = ", ".join(MEDIA_TYPES)

MAX_SIDE = 16_384

Pixels = NDArray[np.uint8]

_STRIP_ROWS = 256
_OPENCV = ("JPEG", "PNG", "WEBP", "BMP")
_REDUCED = {  # in BGR: OpenCV reduces to no other
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_FILLED = ([128, 128, 128], [65, 65, 65])
"""What libjpeg paints where a scan ends too early, in RGB; the second is what becomes of it in CMYK."""
_NOISE = bytes(range(1, 0xF0))
_MORE = _NOISE + b"".join(bytes([0xFF, 0xD0 + number]) + _NOISE for number in range(8))
"""Data that goes on with a scan, with every restart marker that it may wait for."""

# Our own limits are stricter, and say what they are.
Pillow.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself before it is decoded; `width` and `height` in pixels of the upright picture.

    `orientation`, of EXIF, is what remains to be applied to the decoded pixels. `by_opencv`: OpenCV decodes it right.
    """

    media_type: str
    width: int
    height: int
    orientation: int
    by_opencv: bool


def read_header(data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE) -> Header:
    """Recognise a picture by its content, without decoding it.

    Raises ImageError `not-a-picture` for bytes of no known format, `undecodable` for a broken header, and `too-large`
    for more than `max_pixels`, or a side of more than `max_side`.
    """
    try:
        with Pillow.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as picture:
            width, height = picture.size
            # A JPEG of several pictures calls itself MPO.
            form = "JPEG" if picture.format == "MPO" else str(picture.format)
            orientation = 1 if form == "TIFF" else _orientation(picture)  # Pillow turns TIFF itself
            by_opencv = form in _OPENCV and not picture.has_transparency_data
            if form == "WEBP":
                by_opencv = by_opencv and not picture.is_animated  # type: ignore[attr-defined]
    except UnidentifiedImageError as error:
        raise ImageError("not-a-picture", "The bytes are of no known picture format.") from error
    except Exception as error:  # Pillow's readers raise anything on a hostile header
        raise ImageError("undecodable", f"The picture's header is broken: {error}.") from error
    if width * height > max_pixels:
        raise ImageError("too-large", f"The picture has {width} × {height} pixels; at most {max_pixels} are taken.")
    if max(width, height) > max_side:
        raise ImageError("too-large", f"The picture is {width} × {height} pixels; at most {max_side} a side are taken.")
    if orientation >= 5:
        width, height = height, width
    return Header(MEDIA_TYPES[form], width, height, orientation, by_opencv)


def _orientation(picture: Pillow.Image) -> int:
    """That of EXIF or XMP; 1, upright, where there is none that makes sense."""
    if not picture.info.keys() & {"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"}:
        return 1
    try:  # not PNG's own method, which decodes the picture to see whether EXIF follows it
        found = Pillow.Image.getexif(picture).get(ExifTags.Base.Orientation)
    except Exception:  # anything can be wrong in there, and none of it is the picture's fault
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def check(data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE) -> Header:
    """Make sure that a picture decodes, as cheaply as that can be told. Raises ImageError as `decode` does."""
    header = read_header(data, max_pixels=max_pixels, max_side=max_side)
    _decode(data, header, reduce=8)
    return header


def decode(data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE, enough: int | None = None) -> Pixels:
    """Decode a picture, always in this one way, since the decoder moves boxes more than the detector does.

    Returns RGB of shape (height, width, 3), upright: its EXIF orientation is applied; transparent parts are white; of
    an animation the first frame. A huge JPEG of which a longer side of `enough` pixels will do is decoded to a half, a
    fourth or an eighth of its size, which is at least that.
    Raises ImageError as `read_header` does, and `undecodable` for a broken or truncated picture.
    """
    header = read_header(data, max_pixels=max_pixels, max_side=max_side)
    longer = max(header.width, header.height)
    reduce = max((factor for factor in _REDUCED if enough and longer >= enough * factor), default=1)
    return _upright(_decode(data, header, reduce=reduce), header.orientation)


def _decode(data: bytes, header: Header, *, reduce: int) -> Pixels:
    """The pixels as they lie in the file; only a JPEG can be reduced."""
    if header.media_type == MEDIA_TYPES["JPEG"]:
        ends = scan_ends(data)
        flags = _REDUCED.get(reduce, cv2.IMREAD_COLOR_RGB)
        pixels = _by_opencv(data, flags)
        if pixels[-1, -1].tolist() in _FILLED and _is_unfinished(data, ends, flags, pixels):
            raise ImageError("undecodable", "The JPEG file is cut short: its last part is missing.")
        return pixels
    if header.media_type == MEDIA_TYPES["PNG"]:
        data = pixel_chunks(data)
    return _by_opencv(data, cv2.IMREAD_COLOR_RGB) if header.by_opencv else _by_pillow(data)


def _by_opencv(data: bytes, flags: int) -> Pixels:
    pixels = None
    with suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ImageError("undecodable", "The picture does not decode: it is damaged or cut short.")
    return np.asarray(pixels[..., ::-1] if flags in _REDUCED.values() else pixels, np.uint8)


def _is_unfinished(data: bytes, ends: Sequence[int], flags: int, pixels: Pixels) -> bool:
    """Whether a JPEG's scans end before its pixels do: then what is put after them changes the picture.

    libjpeg paints grey and says nothing. This is asked only of pictures that end in just that grey.
    """
    pieces, start = [], 0
    for end in ends:
        pieces += [data[start:end], _MORE]
        start = end
    try:
        return not np.array_equal(pixels, _by_opencv(b"".join([*pieces, data[start:]]), flags))
    except ImageError:
        return True


def _by_pillow(data: bytes) -> Pixels:
    """What OpenCV does not know, or does not put over white. In strips, so that no second copy is held."""
    try:
        with Pillow.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as picture:
            picture.load()
            width, height = picture.size
            pixels = np.empty((height, width, 3), np.uint8)
            scale = _Scale(picture)
            for top in range(0, height, _STRIP_ROWS):
                strip = picture.crop((0, top, width, min(top + _STRIP_ROWS, height)))
                pixels[top : top + _STRIP_ROWS] = scale.apply(strip) if scale.needed else _over_white(strip)
    except Exception as error:  # Pillow's decoders raise anything on a hostile file
        raise ImageError("undecodable", f"The picture does not decode: {error}.") from error
    return pixels


class _Scale:
    """Modes of more than 8 bits a pixel's channel, which Pillow would clip to white."""

    def __init__(self, picture: Pillow.Image) -> None:
        self.needed = picture.mode.startswith("I;16") or picture.mode in ("I", "F")
        self._low, self._high = 0.0, 65535.0
        if picture.mode in ("I", "F"):
            extrema = [value for value in picture.getextrema() if isinstance(value, int | float)]
            if picture.mode == "F" or not 0 <= min(extrema) <= max(extrema) <= 65535:
                self._low, self._high = min(extrema), max(extrema)

    def apply(self, strip: Pillow.Image) -> Pixels:
        values = (np.asarray(strip, np.float32) - self._low) * (255 / ((self._high - self._low) or 1))
        return np.asarray(np.nan_to_num(values).clip(0, 255), np.uint8)[..., None]


def _over_white(strip: Pillow.Image) -> Pixels:
    if not strip.has_transparency_data:
        return np.asarray(strip.convert("RGB"))
    rgba = np.asarray(strip.convert("RGBA")).astype(np.uint16)
    alpha = rgba[..., 3:]
    rgb = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return np.asarray((rgb + 127) // 255, np.uint8)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
