#!/usr/bin/env bash
# Guess: readers take the EXIF orientation whatever integer type it is written in, or insist on SHORT, and byte order
#   plays no part.
# Truth: OpenCV turns by BYTE, LONG and SLONG in little-endian EXIF and not in big-endian EXIF, since it reads the
#   first two bytes of the value's field. Pillow turns by LONG, SSHORT and SLONG in either byte order and never by BYTE.
# Date: 2026-11-30. Why it matters: a service that mixes the two for one photo (size by Pillow, pixels by OpenCV) gets
#   boxes that are turned against the picture.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check opencv-python-headless==5.0.0.93 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct

import cv2
import numpy as np
from PIL import Image, ImageOps

TYPES = {"BYTE": (1, "B3x"), "SHORT": (3, "H2x"), "LONG": (4, "I"), "SSHORT": (8, "h2x"), "SLONG": (9, "i")}


def jpeg(order, code, value):
    sign = {"II": "<", "MM": ">"}[order]
    block = order.encode() + struct.pack(f"{sign}HIH", 42, 8, 1)
    block += struct.pack(f"{sign}HHI", 0x0112, code, 1) + struct.pack(f"{sign}{value}", 6) + bytes(4)
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, "JPEG", exif=b"Exif\0\0" + block)
    return file.getvalue()


expected = {  # whether OpenCV and Pillow turn the picture
    ("II", "BYTE"): (True, False), ("MM", "BYTE"): (False, False),
    ("II", "SHORT"): (True, True), ("MM", "SHORT"): (True, True),
    ("II", "LONG"): (True, True), ("MM", "LONG"): (False, True),
    ("II", "SSHORT"): (True, True), ("MM", "SSHORT"): (True, True),
    ("II", "SLONG"): (True, True), ("MM", "SLONG"): (False, True),
}
print("OpenCV", cv2.__version__, "Pillow", Image.__version__)
for (order, name), turns in expected.items():
    data = jpeg(order, *TYPES[name])
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (40, 20)
    by_pillow = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == (20, 40)
    print(f"{order} {name:6} OpenCV turns: {by_opencv}, Pillow turns: {by_pillow}")
    assert (by_opencv, by_pillow) == turns, (order, name)
PYTHON
echo "as described"
