#!/usr/bin/env bash
# Guess: cv2.IMREAD_IGNORE_ORIENTATION gives every file's pixels as they lie in it.
# Truth: for JPEG, PNG and WebP it does. A TIFF is turned by its orientation tag all the same, with colour and with
#   IMREAD_UNCHANGED: the shape is that of the upright picture.
# Date: 2026-11-30. Why it matters: a service that decodes without orientation and turns the pixels itself, once, for
#   all formats, turns a TIFF twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check opencv-python-headless==5.0.0.93 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

import cv2
import numpy as np
from PIL import Image

picture = Image.new("RGB", (40, 20))
exif = Image.Exif()
exif[0x0112] = 6
print("OpenCV", cv2.__version__)
for kind, as_stored in (("JPEG", (20, 40)), ("PNG", (20, 40)), ("WEBP", (20, 40)), ("TIFF", (40, 20))):
    file = io.BytesIO()
    picture.save(file, kind, exif=exif)
    data = np.frombuffer(file.getvalue(), np.uint8)
    turned = cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2]
    ignoring = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]
    unchanged = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]
    print(f"{kind:5} stored as (20, 40): turned {turned}, ignoring the orientation {ignoring}, unchanged {unchanged}")
    assert turned == (40, 20), kind
    assert ignoring == as_stored, kind
    assert unchanged == as_stored, kind
PYTHON
echo "as described"
