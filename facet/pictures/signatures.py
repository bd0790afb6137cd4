"""Whether bytes begin as a picture does: told at once, and from the first of them."""

import re

FIRST_BYTES = 64

_PICTURE = re.compile(
    b"|".join(
        (
            rb"\xff\xd8\xff",  # JPEG
            rb"\x89PNG\r\n\x1a\n",
            rb"GIF8[79]a",
            rb"RIFF.{4}WEBP",
            rb"II[*+]\0|MM\0[*+]",  # TIFF and BigTIFF
            rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}",  # BMP, by the size of its second header
            rb".{4}ftyp(?:.{4}){0,12}?(?:hei[cxms]|hev[cxms]|mif1|msf1|avi[fs])",  # HEIC and AVIF, by their brands
        )
    ),
    re.DOTALL,
)


def is_picture(first: bytes) -> bool:
    """Whether `first`, the FIRST_BYTES of a file, are those of a format that Facet takes. It may still be refused."""
    return _PICTURE.match(first) is not None
