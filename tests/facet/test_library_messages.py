"""What libraries print about a picture names no image, so that none of it may reach a log."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from tests.hostile.pictures import chunk, encoded
from tests.support.tiff import LONG, page, tiff

_DECODE = """
import ctypes, logging, sys, threading
from pathlib import Path
from facet.errors import ImageError
from facet.pictures.codec import check, decode

def judge(data):
    for judged in (check, decode):
        try:
            judged(data, max_pixels=10**7)
        except ImageError:
            pass

log = logging.getLogger("facet")
logging.basicConfig(level=logging.WARNING, format="%(message)s")
files = [path.read_bytes() for path in Path(sys.argv[1]).iterdir()]
threads = [threading.Thread(target=lambda: [judge(data) for data in files]) for _ in range(4)]
for thread in threads:
    thread.start()
    log.warning("our own line")
for thread in threads:
    thread.join()
log.warning("the last line")
libc = ctypes.CDLL(None)
stderr = ctypes.c_void_p.in_dll(libc, "stderr")
libc.fputs(b"another library's line\\n", stderr)
libc.fflush(stderr)
"""


def test_nothing_that_libraries_print_is_logged_and_all_else_is(tmp_path: Path, photo: bytes) -> None:
    small = Pillow.open(io.BytesIO(photo)).convert("RGB").resize((200, 150))
    jpeg, png = encoded(small, "JPEG"), encoded(small, "PNG")
    lzw = encoded(small, "TIFF", compression="tiff_lzw")
    wide = page(np.ones((20, 30), np.uint8))
    wide.tags[277] = (LONG, [70_000])
    for name, data in {
        "cut.jpg": jpeg[:-500] + b"\xff\xd9",
        "more.jpg": jpeg[:-2] + bytes(75) + b"\xff\xd9",
        "cut.png": png[:-3000],
        "profile.png": png[:33] + chunk(b"iCCP", b"x\x00\x00junk") + png[33:],
        "lzw.tif": lzw[:3000] + bytes(4000) + lzw[7000:],
        "wide.tif": tiff(wide),
        "exif.jpg": jpeg[:2]
        + b"\xff\xe1\x00\x18Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01\x03\x00"
        + jpeg[2:],
        "cut.bmp": encoded(small, "BMP")[:-500],
        "cut.gif": encoded(small, "GIF")[:-500],
    }.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", _DECODE, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert sorted(set(done.stderr.splitlines())) == ["another library's line", "our own line", "the last line"]
    assert done.stderr.count("our own line") == 4 and done.stdout == ""
