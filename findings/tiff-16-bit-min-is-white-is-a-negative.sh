#!/usr/bin/env bash
# Guess: a reader that inverts a grey TIFF of photometric interpretation 0 (0 is white) does so at every depth.
# Truth: Pillow inverts at 8 bits and not at 16, and OpenCV's IMREAD_UNCHANGED likewise, so that a 16-bit scan comes
#   out as a negative, without a warning. A face detector finds nothing in it.
# Date: 2026-11-30. Why it matters: scanners and medical viewers write such files; the tag has to be read by oneself.
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
from PIL import Image


def min_is_white(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    data = bytearray(file.getvalue())
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] == 262:  # PhotometricInterpretation
            struct.pack_into("<H", data, at + 8, 0)
    return bytes(data)


print("OpenCV", cv2.__version__, "Pillow", Image.__version__)
for kind, inverted in ((np.uint8, True), (np.uint16, False)):
    most = np.iinfo(kind).max
    data = min_is_white(np.array([[0, most]] * 2, kind))  # stored: white, black
    by_pillow = list(np.asarray(Image.open(io.BytesIO(data)))[0])
    by_opencv = list(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[0])
    right = [most, 0] if inverted else [0, most]
    print(f"{kind.__name__}: white and black are read as {by_pillow} by Pillow and {by_opencv} by OpenCV")
    assert by_pillow == right and by_opencv == right, kind
PYTHON
echo "as described"
