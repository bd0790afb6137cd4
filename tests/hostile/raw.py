"""The raw files of cameras, as far as their structure goes."""

import struct
from collections.abc import Callable

import numpy as np

from tests.support.tiff import BYTE, Page, page, tiff

REDUCED = 1
CFA, LINEAR_RAW = 32803, 34892


def sensor(**tags: int) -> Page:
    return page(np.full((60, 90), 700, np.uint16), **tags)


def thumbnail(below: list[Page] | None = None, **tags: int) -> Page:
    return page(np.full((16, 24, 3), 99, np.uint8), subfile=REDUCED, below=below or [], **tags)


def with_bytes(each: Page, tag: int, *values: int) -> Page:
    each.tags[tag] = (BYTE, list(values))
    return each


RAW: dict[str, Callable[[], bytes]] = {
    "nef": lambda: tiff(
        thumbnail([page(np.ones((30, 45, 3), np.uint8), subfile=REDUCED), sensor(photometric=CFA, compression=34713)])
    ),
    "nef, big-endian": lambda: tiff(
        page(
            np.ones((16, 24, 3), np.uint8),
            order=">",
            subfile=REDUCED,
            below=[page(np.ones((60, 90), np.uint16), order=">", photometric=CFA)],
        ),
        order=">",
    ),
    "dng": lambda: tiff(with_bytes(thumbnail([sensor(photometric=CFA)]), 50706, 1, 4, 0, 0)),
    "linear dng": lambda: tiff(thumbnail([page(np.ones((60, 90, 3), np.uint16), photometric=LINEAR_RAW)])),
    "dng of one page": lambda: tiff(with_bytes(sensor(photometric=CFA), 50706, 1, 4, 0, 0)),
    "dng of a picture": lambda: tiff(with_bytes(page(np.ones((60, 90, 3), np.uint8)), 50706, 1, 6, 0, 0)),
    "big dng": lambda: tiff(with_bytes(thumbnail([sensor(photometric=CFA)]), 50706, 1, 7, 1, 0), big=True),
    "arw": lambda: tiff(thumbnail([sensor(photometric=CFA, compression=32767)])),
    "sr2, full first page": lambda: tiff(page(np.ones((60, 90, 3), np.uint8), below=[sensor(photometric=CFA)])),
    "pef": lambda: tiff(sensor(photometric=CFA, compression=65535), thumbnail()),
    "srw": lambda: tiff(thumbnail([sensor(photometric=CFA, compression=32770)])),
    "dcr": lambda: tiff(thumbnail(), sensor(compression=65000)),
    "erf, by its pattern alone": lambda: tiff(thumbnail([with_bytes(sensor(), 33422, 0, 1, 1, 2)])),
    "mos": lambda: tiff(with_bytes(page(np.ones((60, 90, 3), np.uint8)), 34310, 0)),
    "cr2": lambda: b"II*\x00" + struct.pack("<I", 16) + b"CR\x02\x00" + bytes(400),
    "iiq": lambda: b"II*\x00" + struct.pack("<I", 400) + b"IIII" + bytes(400),
    "orf": lambda: b"IIRO\x08\x00\x00\x00" + bytes(400),
    "orf of old": lambda: b"IIRS\x08\x00\x00\x00" + bytes(400),
    "rw2": lambda: b"IIU\x00\x18\x00\x00\x00" + bytes(400),
    "raf": lambda: b"FUJIFILMCCD-RAW 0201" + bytes(400),
    "cr3": lambda: struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"crx ", 1, b"crx ", b"isom") + bytes(400),
    "crw": lambda: b"II\x1a\x00\x00\x00HEAPCCDR" + bytes(400),
    "mrw": lambda: b"\x00MRM" + bytes(400),
    "x3f": lambda: b"FOVb" + bytes(400),
}
