"""What a file is that no decoder here opens: broken, a kind of picture that is not read, or no picture."""

from facet.errors import ImageError, unsupported
from facet.pictures import isobmff, jpeg, png, tiff

_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"heif", b"avif", b"avis"}
_RAW = (
    (0, b"IIRO"),  # Olympus
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\x00"),  # Panasonic, Leica
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"\x00MRM"),  # Minolta
    (0, b"FOVb"),  # Sigma
    (6, b"HEAPCCDR"),  # Canon's first
)
_OTHERS = (
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"II\xbc\x01", "a JPEG XR picture"),
    (0, b"8BPS", "a Photoshop document"),
)
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_RAW_NAME = "a camera's raw file (DNG, NEF, CR3 or the like)"


def unreadable(data: bytes, *, heif: bool) -> ImageError:
    """Why a file that does not open is refused. `heif`: HEIC has a decoder."""
    if name := _unread(data, opened=False, heif=heif):
        return unsupported(name)
    if _has_signature(data):
        return ImageError("undecodable", "The picture does not decode: it is damaged or cut short.")
    return ImageError("not-a-picture", "The bytes are of no known picture format.")


def undecodable(data: bytes, error: ImageError) -> ImageError:
    """Why a file that opens, and does not decode with this error, is refused."""
    name = _unread(data, opened=True, heif=True)
    return unsupported(name) if name else error


def refuse_raw(data: bytes, pages: list[tiff.Page]) -> None:
    """Raises ImageError `unsupported` for the raw file of a camera that calls itself a TIFF."""
    if tiff.is_raw(data, pages):
        raise unsupported(_RAW_NAME)


def _unread(data: bytes, *, opened: bool, heif: bool) -> str | None:
    if _is(data, _RAW) or isobmff.brands(data) & {b"crx "}:
        return _RAW_NAME
    for at, magic, name in _OTHERS:
        if data.startswith(magic, at):
            return name
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.read_structure(data).unread
    if pages := tiff.read_pages(data):
        return _unread_page(data, pages, opened)
    brands = isobmff.brands(data)
    if brands & _HEIF:
        if not heif and not brands & {b"avif", b"avis"}:
            return "a HEIC picture"
        if brands & {b"hevc", b"hevx", b"msf1"} and not brands & {b"mif1", b"heic", b"heix", b"avif"}:
            return "a HEIC sequence without a still picture"
    return None


def _unread_page(data: bytes, pages: list[tiff.Page], opened: bool) -> str | None:
    if tiff.is_raw(data, pages):
        return _RAW_NAME
    if data.startswith(tiff.BIG_ENDIAN_BIG) and not opened:
        return "a big-endian BigTIFF"
    page, _ = tiff.photo_first(data, pages)
    if not page.intact or (page.compression_is_read and (opened or not page.has_pixels)):
        return None
    return page.kind


def _has_signature(data: bytes) -> bool:
    return (
        data.startswith((jpeg.SIGNATURE, png.SIGNATURE, b"GIF87a", b"GIF89a", *tiff.SIGNATURES))
        or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
        or (data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS)
        or bool(isobmff.brands(data) & _HEIF)
    )


def _is(data: bytes, magics: tuple[tuple[int, bytes], ...]) -> bool:
    return any(data.startswith(magic, at) for at, magic in magics)
