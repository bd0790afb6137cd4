"""Small files that claim, or are, far too much: judged in a process of its own, of which the memory is measured."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.hostile import pictures

_MEASURE = """
import resource, sys
from facet.errors import ImageError
from facet.pictures.codec import check, decode
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    check(data, max_pixels=50_000_000)
    print(decode(data, max_pixels=50_000_000).shape, end=" ")
except ImageError as error:
    print(error.code, end=" ")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def photo() -> Pillow.Image:
    return Pillow.open(Path(__file__).parents[2] / "examples" / "eileen-collins.jpg").convert("RGB")


def real_webp() -> bytes:
    """One that is as large as it says."""
    out = io.BytesIO()
    Pillow.new("RGB", (8_000, 6_500), "white").save(out, "WEBP", lossless=True, quality=0, method=0)
    return out.getvalue()


@pytest.mark.parametrize(
    ("make", "outcome"),
    [
        (lambda: pictures.flat_png(20_000), "too-large"),
        (lambda: pictures.webp_claiming(16_383), "too-large"),
        (real_webp, "too-large"),
        (lambda: pictures.claiming(pictures.encoded(photo(), "JPEG"), 9000, 9000), "too-large"),
        (lambda: pictures.text_bomb(photo(), kind=b"zTXt", late=False), "undecodable"),
        (lambda: pictures.text_bomb(photo(), kind=b"zTXt", late=True), "undecodable"),
        (lambda: pictures.text_bomb(photo(), kind=b"iTXt", late=True), "undecodable"),
        (lambda: pictures.many_scans(photo()), "undecodable"),
        (lambda: pictures.gif_of(2000), "(64, 64, 3)"),
    ],
    ids=["png", "webp claim", "webp", "jpeg", "texts", "late texts", "late itxt", "scans", "gif"],
)
def test_a_bomb_costs_little_memory(make: Callable[[], bytes], outcome: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(make())
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / "bomb")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    said, _, megabytes = done.stdout.strip().rpartition(" ")
    assert said == outcome
    assert int(megabytes) < 100
