"""Pictures as bytes and as pixels: recognise and decode."""

import io
from contextlib import suppress
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageFile, UnidentifiedImageError
from PIL import Image as Pillow
from PIL.TiffImagePlugin import TiffImageFile

from facet.errors import ImageError, unsupported
from facet.pictures import bmp, jpeg, png, tiff
from facet.pictures.depth import DARK, Scale, brightened, has_16_bits, is_dark, mend, read_lower_half, strips, uncover
from facet.pictures.library_messages import silenced
from facet.pictures.orientation import orientation, turned_by_tag
from facet.pictures.unread import refuse_raw, undecodable, unreadable

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

_OPENCV = ("JPEG", "PNG", "WEBP", "BMP")
_REDUCED = {  # in BGR: OpenCV reduces to no other
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_FILL_COLOURS = ([128, 128, 128], [65, 65, 65])
"""What libjpeg paints where a scan ends too early, in RGB; the second is what becomes of it in CMYK."""

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


@dataclass(frozen=True, slots=True)
class _File:
    """A file of which the header is known. `data` is what is decoded: of a PNG its pixels alone, of a TIFF the photo's
    page first, of a BMP whole bytes."""

    data: bytes
    header: Header
    page: tiff.Page | None = None
    deep: bool = False


def read_header(data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE) -> Header:
    """Recognise a picture by its content, without decoding it.

    Raises ImageError `not-a-picture` for bytes of no known format, `unsupported` for a kind of picture that is not
    read, `undecodable` for a broken header, and `too-large` for more than `max_pixels`, or a side of more than
    `max_side`.
    """
    return _opened(data, max_pixels, max_side).header


def check(data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE) -> Header:
    """Make sure that a picture decodes, as cheaply as that can be told. Raises ImageError as `decode` does."""
    file = _opened(data, max_pixels, max_side)
    _decode(file, reduce=8)
    return file.header


def decode(data: bytes, *, max_pixels: int, max_side: int = MAX_SIDE, min_side: int | None = None) -> Pixels:
    """Decode a picture, always in this one way, since the decoder moves boxes more than the detector does.

    Returns RGB of shape (height, width, 3), upright: its orientation is applied; transparent parts are white; of an
    animation the first frame. A huge JPEG of which a longer side of `min_side` pixels will do is decoded to a half, a
    fourth or an eighth of its size, which is at least that.
    Raises ImageError as `read_header` does, and `undecodable` for a broken or truncated picture.
    """
    file = _opened(data, max_pixels, max_side)
    longer = max(file.header.width, file.header.height)
    reduce = max((factor for factor in _REDUCED if min_side and longer >= min_side * factor), default=1)
    return _upright(_decode(file, reduce=reduce), file.header.orientation)


def _opened(data: bytes, max_pixels: int, max_side: int) -> _File:
    chunks, page = None, None
    if data.startswith(png.SIGNATURE):
        chunks = png.read_chunks(data)
        if chunks.apple:
            raise unsupported("a PNG in the form that Apple's tools make for a device (CgBI)")
    elif data.startswith(tiff.SIGNATURES):
        pages = tiff.read_pages(data)
        refuse_raw(data, pages)
        page, data = tiff.photo_first(data, pages)
    elif data.startswith(bmp.SIGNATURE):
        data = bmp.with_whole_bytes(data, max_pixels)
    header = _header(data, chunks)
    width, height = header.width, header.height
    if width * height > max_pixels:
        raise ImageError("too-large", f"The picture has {width} × {height} pixels; at most {max_pixels} are taken.")
    if max(width, height) > max_side:
        raise ImageError("too-large", f"The picture is {width} × {height} pixels; at most {max_side} a side are taken.")
    return _File(chunks.pixels, header, deep=chunks.deep) if chunks else _File(data, header, page)


def _header(data: bytes, chunks: png.Chunks | None) -> Header:
    try:
        with silenced(), Pillow.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as picture:
            width, height = picture.size
            # A JPEG of several pictures calls itself MPO.
            image_format = "JPEG" if picture.format == "MPO" else str(picture.format)
            turn = orientation(picture, data, chunks)
            by_opencv = image_format in _OPENCV and not picture.has_transparency_data
            if chunks and chunks.cut:  # OpenCV wants the checksum of the pixels too
                by_opencv = False
            if image_format == "WEBP":
                by_opencv = by_opencv and not picture.is_animated  # type: ignore[attr-defined]
    except UnidentifiedImageError as error:
        raise unreadable(data, heif="HEIF" in MEDIA_TYPES) from error
    except Exception as error:  # Pillow's readers raise anything on a hostile header
        raise ImageError("undecodable", f"The picture's header is broken: {error}.") from error
    if turn >= 5:
        width, height = height, width
    return Header(MEDIA_TYPES[image_format], width, height, turn, by_opencv)


def _decode(file: _File, *, reduce: int) -> Pixels:
    """The pixels as they lie in the file; only a JPEG can be reduced."""
    try:
        with silenced():
            if file.header.media_type == MEDIA_TYPES["JPEG"]:
                return _jpeg(file, reduce)
            if not file.header.by_opencv:
                return _by_pillow(file)
            pixels = _by_opencv(file.data, cv2.IMREAD_COLOR_RGB)
            return _by_pillow(file) if file.deep and pixels.max() < DARK else pixels
    except ImageError as error:
        raise undecodable(file.data, error) from error


def _jpeg(file: _File, reduce: int) -> Pixels:
    structure = jpeg.read_structure(file.data)
    if structure.lacks_components:
        raise ImageError("undecodable", "The JPEG file is cut short: a colour is missing.")
    if not structure.ended:
        file = replace(file, data=file.data[: structure.end] + jpeg.EOI)
    if structure.lossless:
        pixels = _by_pillow(file)  # OpenCV reads only those in colour
    else:
        pixels = _by_opencv(file.data, _REDUCED.get(reduce, cv2.IMREAD_COLOR_RGB))
    if structure.doubtful or pixels[-1, -1].tolist() in _FILL_COLOURS:
        _refuse_unfinished(file, structure, reduce, pixels)
    return pixels


def _refuse_unfinished(file: _File, structure: jpeg.Structure, reduce: int, pixels: Pixels) -> None:
    """Raises ImageError for a JPEG whose scans end before its pixels do: then what is put after them changes it.

    libjpeg paints grey and says nothing. This is asked only of pictures that end in just that grey, and of those that
    are doubtful by their structure: of these all bits count, so that they are compared in their full size.
    """
    noisy = replace(file, data=jpeg.with_noise(file.data, structure))
    flags = cv2.IMREAD_COLOR_RGB if structure.doubtful else _REDUCED.get(reduce, cv2.IMREAD_COLOR_RGB)
    with suppress(ImageError):
        if structure.lossless:
            whole = np.array_equal(pixels, _by_pillow(noisy))
        else:
            if structure.doubtful and reduce > 1:
                pixels = _by_opencv(file.data, flags)
            whole = np.array_equal(pixels, _by_opencv(noisy.data, flags))
        if whole:
            return
    raise ImageError("undecodable", "The JPEG file is cut short: its last part is missing.")


def _by_opencv(data: bytes, flags: int) -> Pixels:
    pixels = None
    with suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ImageError("undecodable", "The picture does not decode: it is damaged or cut short.")
    return np.asarray(pixels[..., ::-1] if flags in _REDUCED.values() else pixels, np.uint8)


def _by_pillow(file: _File) -> Pixels:
    """What OpenCV does not know, or does not put over white."""
    try:
        picture = _loaded(file)
        pixels = np.empty((picture.height, picture.width, 3), np.uint8)
        scale, top = Scale(picture, file.page), 0
        for strip in strips(picture):
            pixels[top : top + strip.height] = scale.apply(strip) if scale.needed else _over_white(strip)
            top += strip.height
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on a hostile file
        raise ImageError("undecodable", f"The picture does not decode: {error}.") from error
    return pixels


def _loaded(file: _File) -> Pillow.Image:
    """Pillow's picture with its pixels, turned by a TIFF's own tag and by nothing else."""
    opened = _pillow(file)
    deep = has_16_bits(opened)
    opened.load()
    picture: Pillow.Image = opened
    if deep and is_dark(picture):
        lower = _pillow(file)
        read_lower_half(lower)
        lower.load()
        picture = brightened(picture, lower, file.page)
    if file.page:
        uncover(picture, file.page)
    return picture


def _pillow(file: _File) -> ImageFile.ImageFile:
    picture = Pillow.open(io.BytesIO(file.data), formats=tuple(MEDIA_TYPES))
    if file.page and isinstance(picture, TiffImageFile):
        mend(picture, file.page)
        if not turned_by_tag(picture):
            picture.getexif()[ExifTags.Base.Orientation] = 1  # Pillow would turn it by what it finds in XMP
    return picture


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
