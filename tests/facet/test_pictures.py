"""Boxes lead back to the picture that was sent, however it was stored and reduced."""

import io
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import MagicMock
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from facet.annotations import Annotation
from facet.detector import create_detector
from facet.detector.base import DetectedFace, DetectionParameters
from facet.detector.working_size import to_faces, working_image
from facet.errors import ImageError, Overloaded
from facet.jobs import FoundFace, ImageJob, Jobs
from facet.pictures.codec import Pixels, decode
from facet.pictures.decoder import Decoder
from facet.pictures.run_cache import Pictures
from facet.settings import Settings
from facet.storage import FolderStore
from tasks.detect import _found, detect
from tasks.draw import draw
from tests.hostile.pictures import UNDO, encoded
from tests.support.images import picture


def new_job(width: int, height: int, faces: list[FoundFace] | None = None) -> ImageJob:
    return ImageJob(
        image_id=uuid4(),
        epoch=1,
        request_id="r",
        original_key="original",
        annotated_key="annotated",
        callback_url=None,
        min_confidence=0.9,
        min_face_size=20,
        annotation=Annotation.BOXES,
        width=width,
        height=height,
        faces=faces or [],
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 300), st.integers(40, 300), st.integers(1, 8), st.sampled_from([None, 64, 150]), st.data())
def test_a_mark_is_found_where_it_is_in_the_upright_picture(
    width: int, height: int, orientation: int, max_side: int | None, data: st.DataObject
) -> None:
    """A white mark on black, at least as large as what may be lost to reduction, stands for a face."""
    left, top = data.draw(st.integers(0, width - 20)), data.draw(st.integers(0, height - 20))
    mark = (left, top, data.draw(st.integers(20, width - left)), data.draw(st.integers(20, height - top)))
    upright = Pillow.new("RGB", (width, height))
    upright.paste((255, 255, 255), (mark[0], mark[1], mark[0] + mark[2], mark[1] + mark[3]))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(UNDO[orientation]) if orientation in UNDO else upright
    pixels = decode(encoded(stored, "JPEG", exif=exif, quality=95), max_pixels=10**6, min_side=max_side)

    full = (width, height) if pixels.shape[:2] != (height, width) else None
    working = working_image(pixels, DetectionParameters(max_side=max_side, full_size=full))
    assert max(working.pixels.shape) <= (max_side or 300)
    rows, columns = np.nonzero(working.pixels[..., 0] > 127)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    [face] = to_faces(np.array([[*corners, 0.99, *([corners[0]] * 5), *([corners[1]] * 5)]], np.float64), working)
    found = _found(face, new_job(width, height)).box
    tolerance = 2 + max(width, height) / max(working.pixels.shape)
    assert found == pytest.approx(mark, abs=2 * tolerance)


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.tuples(*[st.floats(-500, 2500) for _ in range(2)], *[st.floats(1, 3000) for _ in range(2)]),
)
def test_a_box_is_clipped_to_its_picture_and_not_moved(
    width: int, height: int, box: tuple[float, float, float, float]
) -> None:
    x, y, w, h = box
    if not (x < width - 1 and y < height - 1 and x + w > 1 and y + h > 1):
        return  # the detector's boxes lie at least partly in the picture
    left, top, wide, high = _found(DetectedFace(0.99, box, {}), new_job(width, height)).box
    assert 0 <= left <= left + wide <= width and 0 <= top <= top + high <= height
    assert (left, top) == (max(0, round(x)), max(0, round(y)))
    assert left + wide == pytest.approx(min(width, x + w), abs=1.01)
    assert top + high == pytest.approx(min(height, y + h), abs=1.01)


def test_a_reduced_jpeg_has_the_faces_of_the_whole(photo: bytes) -> None:
    huge = encoded(Pillow.open(io.BytesIO(photo)).resize((2048, 2048)), "JPEG")
    reduced = decode(huge, max_pixels=10**7, min_side=512)
    assert reduced.shape == (512, 512, 3)
    detector = create_detector("mtcnn", threads=1)
    whole = DetectionParameters(max_side=512)
    part = DetectionParameters(max_side=512, full_size=(2048, 2048))
    [[expected], [found]] = detector.detect([decode(huge, max_pixels=10**7), reduced], [whole, part])
    assert found.box == pytest.approx(expected.box, abs=12)
    assert found.box == pytest.approx((720, 260, 336, 432), abs=40)


def test_the_annotated_picture_of_a_reduced_one_has_its_box_at_its_place(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("original", picture(4000, 3000, "jpg"), "image/jpeg")
    face = FoundFace(confidence=0.99, box=[2000, 1000, 800, 800], keypoints={})
    pictures = Pictures(store, Decoder(Settings()), min_side=1000)
    drawn = decode(pictures.annotated(new_job(4000, 3000, [face])), max_pixels=10**7).astype(int)
    assert drawn.shape == (750, 1000, 3)
    rows, columns = np.nonzero((drawn[:400, :, 1] > 150) & (drawn[:400, :, 0] < 120))
    assert (columns.min(), rows.min()) == (pytest.approx(500, abs=3), pytest.approx(250, abs=3))


def test_a_decoding_that_takes_too_long_fails_its_picture_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(Settings(decode_seconds=0.3))
    with monkeypatch.context() as patch:
        patch.setattr("facet.pictures.decoder.decode", lambda *args, **options: time.sleep(1.5))
        with pytest.raises(ImageError, match=r"more than 0\.3 s") as caught:
            decoder.decode(b"", min_side=None)
    assert caught.value.code == "undecodable"
    assert decoder.stuck
    time.sleep(1.6)
    assert not decoder.stuck
    assert decoder.decode(picture(), min_side=None).shape == (48, 64, 3)


def test_stuck_decodings_keep_their_places_and_the_rest_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    decoder = Decoder(Settings(decode_seconds=0.2))
    monkeypatch.setattr("facet.pictures.decoder.decode", lambda *args, **options: time.sleep(1))
    with pytest.raises(ImageError):
        decoder.decode(b"", min_side=None)
    with pytest.raises(Overloaded):
        decoder.decode(b"", min_side=None)


def test_threads_may_share_the_pictures_of_a_run(tmp_path: Path) -> None:
    """Each thread keeps its own files while the others' are counted; with such a switch interval they meet at once."""
    pictures = Pictures(FolderStore(tmp_path), Decoder(Settings()), min_side=None)
    jobs = [new_job(1, 1, []) for _ in range(400)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda job: pictures.keep_original(job, b"bytes"), jobs))
    finally:
        sys.setswitchinterval(interval)

    assert all(pictures.original(job) == b"bytes" for job in jobs)


def test_each_picture_of_a_run_is_decoded_once_however_few_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facet.pictures.run_cache._PIXEL_BYTES_KEPT", 4 * 320 * 240 * 3)
    store, decoder = FolderStore(tmp_path), Decoder(Settings())
    store.put("original", picture(320, 240, "jpg"), "image/jpeg")
    decoded: list[int] = []
    decode_once = decoder.decode

    def counted(data: bytes, *, min_side: int | None) -> Pixels:
        decoded.append(1)
        return decode_once(data, min_side=min_side)

    monkeypatch.setattr(decoder, "decode", counted)
    claims = MagicMock(**{"must_yield.return_value": False})
    pictures = Pictures(store, decoder, min_side=None)
    jobs = Jobs(new_job(320, 240) for _ in range(6))
    found = detect.fn(jobs, pictures, create_detector(), claims, uuid4(), max_side=None)
    drawn = draw.fn(found, pictures)
    assert len(decoded) == 6
    assert all(pictures.annotated(job)[:2] == b"\xff\xd8" and job.timings["draw"] > 0 for job in drawn)
    assert len(decoded) == 6
