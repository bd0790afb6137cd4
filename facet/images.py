"""Pictures as bytes and as pixels: recognise, decode, draw, encode."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from facet.errors import ImageError

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
FORMATS = ", ".join(MEDIA_TYPES)

Pixels = NDArray[np.uint8]

_GREEN = (0, 255, 0)
_JPEG_QUALITY = 92
# A picture cut short lacks its format's end; decoders fill the rest with grey and say nothing.
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture says of itself before it is decoded; `width` and `height` in pixels as stored."""

    media_type: str
    width: int
    height: int


class DrawnFace(Protocol):
    """What `draw_faces` needs of a face: box [x, y, width, height] in pixels."""

    @property
    def confidence(self) -> float: ...
    @property
    def box(self) -> list[int]: ...


def read_header(data: bytes, *, max_pixels: int) -> Header:
    """Recognise a picture by its content, without decoding it.

    Raises ImageError `not-a-picture` for bytes of no known format, `too-large` for more than `max_pixels`.
    """
    try:
        with Pillow.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES)) as picture:
            width, height = picture.size
            form = str(picture.format)
    except (UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        if isinstance(error, Pillow.DecompressionBombError):
            raise _too_large(str(error), max_pixels) from error
        raise ImageError("not-a-picture", "The bytes are of no known picture format.") from error
    except Exception as error:  # Pillow's readers raise anything on a hostile header
        raise ImageError("undecodable", f"The picture's header is broken: {error}.") from error
    if width * height > max_pixels:
        raise _too_large(f"The picture has {width} × {height} pixels", max_pixels)
    return Header(MEDIA_TYPES[form], width, height)


def _too_large(what: str, max_pixels: int) -> ImageError:
    return ImageError("too-large", f"{what}; at most {max_pixels} pixels are taken.")


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """Decode a picture, always in this one way, since the decoder moves boxes more than the detector does.

    Returns RGB of shape (height, width, 3), upright: its EXIF orientation is applied.
    Raises ImageError as `read_header` does, and `undecodable` for a broken or truncated picture.
    """
    header = read_header(data, max_pixels=max_pixels)
    for form, end in _ENDS.items():
        if header.media_type == MEDIA_TYPES[form] and end not in data[-65536:]:
            raise ImageError("undecodable", f"The {form} file is cut short: its end is missing.")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError("undecodable", f"The picture does not decode: {error.err}.") from error
    if pixels is None:
        raise ImageError("undecodable", "The picture does not decode.")
    return np.asarray(pixels, np.uint8)


def draw_faces(pixels: Pixels, faces: Sequence[DrawnFace]) -> bytes:
    """A JPEG of the picture with a green box around each face, and its confidence beneath."""
    canvas = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    line = max(1, round(max(pixels.shape[:2]) / 600))
    for face in faces:
        x, y, width, height = face.box
        cv2.rectangle(canvas, (x, y), (x + width, y + height), _GREEN, line)
        label = f"P: {face.confidence:.4f}"
        scale = max(0.3, min(width / 110, 2.0))
        (_, text_height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        below = min(y + height + text_height + 4 * line, pixels.shape[0] - 2)
        cv2.putText(canvas, label, (x, below), cv2.FONT_HERSHEY_SIMPLEX, scale, _GREEN, line, cv2.LINE_AA)
    return encode_jpeg(canvas)


def encode_jpeg(canvas: Pixels) -> bytes:
    """JPEG bytes of a BGR picture."""
    done, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ImageError("unencodable", "The annotated picture cannot be encoded as JPEG.")
    return data.tobytes()
