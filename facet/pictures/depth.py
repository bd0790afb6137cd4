"""Channels of more than 8 bits, brought to 8 so that a picture looks as it was meant to.

Nothing tells reliably which value is white: a scanner or a microscope writes 12 bits into numbers of 16. So white is
what the file states, or the largest value of the least number of bits that holds the picture's brightest.
"""

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageFile, ImagePalette
from PIL.TiffImagePlugin import TiffImageFile

from facet.errors import unsupported
from facet.pictures.tiff import Page, Tag

Pixels = NDArray[np.uint8]

DARK = 64
"""A picture of 16 bits whose brightest channel is below this after its lower 8 were dropped may have had fewer bits."""
_STRIP_ROWS = 256
_COLOURS = {"RGB": 3, "RGBA": 3, "CMYK": 4}
_OTHER_HALF = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
"""Read in the other order of bytes, a number of 16 bits has its lower 8 where Pillow takes the upper."""
_COLOUR_MAP = 320
_NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_UNSIGNED, _SIGNED = (8, 10, 12, 14, 16), (7, 8, 10, 12, 14, 15)


def strips(picture: Pillow.Image) -> Iterator[Pillow.Image]:
    """The picture in parts, from top to bottom, so that no second copy is held. It is loaded."""
    width, height = picture.size
    for top in range(0, height, _STRIP_ROWS):
        yield picture.crop((0, top, width, min(top + _STRIP_ROWS, height)))


class Scale:
    """How the values of a picture of one channel become grey."""

    def __init__(self, picture: Pillow.Image, page: Page | None) -> None:
        """`picture` is loaded; `page` is that of a TIFF."""
        bits, kind = (page.first(Tag.BITS, 1), page.first(Tag.SAMPLE_FORMAT, 1)) if page else (16, 1)
        self._type = {(32, 1): np.uint32, (8, 2): np.int8}.get((int(bits), int(kind)))
        deep = picture.mode.startswith("I;16") or picture.mode in ("I", "F")
        self.needed = deep or (picture.mode == "L" and self._type is np.int8)
        self._inverted = deep and page is not None and page.first(Tag.PHOTOMETRIC, 1) == 0
        self._transparent = picture.info.get("transparency") if deep else None
        if self.needed:
            self._low, self._high = self._black_and_white(picture, page)

    def apply(self, strip: Pillow.Image) -> Pixels:
        """The grey of a part of the picture."""
        values = self._values(strip)
        grey = (values.astype(np.float64) - self._low) * (255 / ((self._high - self._low) or 1))
        grey = np.nan_to_num(grey, nan=0.0, posinf=255, neginf=0).clip(0, 255)
        if self._inverted:
            grey = 255 - grey
        if isinstance(self._transparent, int):
            grey[values == self._transparent] = 255
        return np.asarray(np.rint(grey), np.uint8)[..., None]

    def _black_and_white(self, picture: Pillow.Image, page: Page | None) -> tuple[float, float]:
        low, high, kind = np.inf, -np.inf, "u"
        for strip in strips(picture):
            values = self._values(strip)
            kind = values.dtype.kind
            finite = values[np.isfinite(values)] if kind == "f" else values
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        return _black_and_white(low, high, kind, _stated(page)) if low <= high else (0, 1)

    def _values(self, picture: Pillow.Image) -> NDArray[np.generic]:
        values = np.asarray(picture)
        return values.view(self._type) if self._type else values


def _stated(page: Page | None) -> Sequence[float]:
    """What a TIFF says that its largest value is, where that is less than its numbers can hold."""
    if page is None:
        return ()
    full = 2 ** page.first(Tag.BITS, 1) - 1
    stated = [page.first(tag, 0) for tag in (Tag.S_MAX_SAMPLE, Tag.MAX_SAMPLE)]
    return [value for value in stated if 0 < value < full]


def _black_and_white(low: float, high: float, kind: str, stated: Sequence[float]) -> tuple[float, float]:
    if low < 0:
        return low, high
    for white in stated:
        if high <= white:
            return 0, white
    if kind == "f" and high <= 1:
        return 0, 1
    widths = _SIGNED if kind == "i" else _UNSIGNED
    return next(((0.0, 2.0**width - 1) for width in widths if high < 2**width), (low, high))


def mend(picture: TiffImageFile, page: Page) -> None:
    """Let Pillow read three kinds of TIFF right. `picture` is not yet loaded.

    A palette of 16 bits may have been written with numbers of 8, which would all be black. libtiff gives numbers in the
    order of this machine, which Pillow heeds only where they are unsigned and of 16 bits. Of planes that are not
    compressed Pillow reads 8 bits, whatever they have. Raises ImageError `unsupported` for those of CMYK.
    """
    colours = picture.tag_v2.get(_COLOUR_MAP, ())
    if picture.mode == "P" and max(colours, default=0) < 256:
        picture.palette = ImagePalette.raw("RGB;L", bytes(colours))
    planes = page.first(Tag.PLANAR, 1) == 2 and page.first(Tag.BITS, 1) == 16
    order = ";16B" if picture.tag_v2.prefix == b"MM" else ";16L"

    def mended(tile: ImageFile._Tile) -> str:
        mode = _rawmode(tile)
        if tile.codec_name == "libtiff":
            return _NATIVE.get(mode, mode)
        if planes and len(mode) == 1 and picture.mode == "CMYK":
            raise unsupported(f"{page.kind}, in planes that are not compressed")
        return mode + order if planes and len(mode) == 1 else mode

    _set_rawmodes(picture, mended)


def has_16_bits(picture: ImageFile.ImageFile) -> bool:
    """Whether Pillow will drop the lower 8 bits of each channel. `picture` is not yet loaded."""
    return picture.mode in _COLOURS and bool(picture.tile) and all(";16" in _rawmode(tile) for tile in picture.tile)


def is_dark(picture: Pillow.Image) -> bool:
    """Whether the colours, or what covers them, may have fewer than 16 bits. `picture` is loaded."""
    brightest = [int(channel[1]) for channel in picture.getextrema() if isinstance(channel, tuple)]
    colours, cover = brightest[: _COLOURS[picture.mode]], brightest[_COLOURS[picture.mode] :]
    return any(part and max(part) < DARK for part in (colours, cover))


def read_lower_half(picture: ImageFile.ImageFile) -> None:
    """Let a picture that is not yet loaded have the lower 8 bits of its channels instead of the upper."""
    _set_rawmodes(picture, lambda tile: _rawmode(tile)[:-1] + _OTHER_HALF[_rawmode(tile)[-1]])


def brightened(upper: Pillow.Image, lower: Pillow.Image, page: Page | None) -> Pillow.Image:
    """The picture of which these are the halves of each channel, by the bits that it really has."""
    colours = _COLOURS[upper.mode]
    highest = np.max([_whole(*halves).max(axis=(0, 1)) for halves in zip(strips(upper), strips(lower), strict=True)], 0)
    factors = np.empty(len(highest), np.float32)
    for part, stated in ((slice(colours), _stated(page)), (slice(colours, None), ())):
        if highest[part].size:
            factors[part] = 255 / _black_and_white(0, float(highest[part].max()), "u", stated)[1]
    top = 0
    for halves in zip(strips(upper), strips(lower), strict=True):
        pixels = np.rint(_whole(*halves) * factors).astype(np.uint8)
        upper.paste(Pillow.fromarray(pixels, upper.mode), (0, top))
        top += len(pixels)
    return upper


def uncover(picture: Pillow.Image, page: Page) -> None:
    """Show what a fourth channel of zeros would hide, where no tag says that it tells of transparency."""
    if picture.mode == "RGBA" and Tag.EXTRA_SAMPLES not in page.tags and not picture.getchannel("A").getbbox():
        picture.putalpha(255)


def _whole(upper: Pillow.Image, lower: Pillow.Image) -> NDArray[np.uint16]:
    return np.asarray(np.asarray(upper).astype(np.uint16) << 8 | np.asarray(lower), np.uint16)


def _rawmode(tile: ImageFile._Tile) -> str:
    return tile.args if isinstance(tile.args, str) else str((tile.args or [""])[0])


def _set_rawmodes(picture: ImageFile.ImageFile, change: Callable[[ImageFile._Tile], str]) -> None:
    """How a tile's bytes become pixels is the first of its decoder's arguments, or the only one."""
    picture.tile = [
        tile._replace(args=change(tile) if isinstance(tile.args, str) else (change(tile), *(tile.args or [""])[1:]))
        for tile in picture.tile
    ]
