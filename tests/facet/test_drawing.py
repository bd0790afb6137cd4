"""Hidden faces stay hidden, and the rest of the picture stays."""

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from facet.annotations import Annotation
from facet.jobs import FoundFace, ImageJob
from facet.pictures.codec import decode
from facet.pictures.drawing import annotated
from tests.facet.test_pictures import new_job

LIMIT = 10**7
HIDING = (Annotation.BLUR, Annotation.PIXELATE)


def noise(height: int = 300, width: int = 400) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def face(*box: int) -> FoundFace:
    return FoundFace(confidence=0.99, box=list(box), keypoints={})


def drawn(pixels: np.ndarray, faces: list[FoundFace], annotation: Annotation) -> np.ndarray:
    return decode(annotated(pixels, faces, annotation), max_pixels=LIMIT).astype(int)


@pytest.mark.parametrize("annotation", HIDING)
def test_of_a_hidden_face_only_a_few_colours_are_left(annotation: Annotation) -> None:
    pixels, box = noise(), (150, 80, 90, 120)
    hidden = drawn(pixels, [face(*box)], annotation)
    plain = drawn(pixels, [], Annotation.NONE)
    x, y, width, height = box
    inside = (slice(y, y + height), slice(x, x + width))
    assert plain[inside].std() > 45 and hidden[inside].std() < 15
    cells = hidden[inside].reshape(-1, 3) // 16
    assert len(np.unique(cells, axis=0)) < 60
    far = np.ones(pixels.shape[:2], bool)
    far[y - 40 : y + height + 40, x - 40 : x + width + 40] = False
    assert np.abs(hidden - plain)[far].max() == 0


@pytest.mark.parametrize("annotation", HIDING)
def test_two_pictures_that_differ_in_a_face_alone_are_the_same_once_it_is_hidden(annotation: Annotation) -> None:
    """Details of the same mean colour, here a fine chequerboard and its negative, leave no trace."""
    rows, columns = np.indices((200, 200))
    pattern = np.where((rows + columns) % 2, 160, 95).astype(np.uint8)[..., None].repeat(3, axis=2)
    one, other = np.full((200, 200, 3), 128, np.uint8), np.full((200, 200, 3), 128, np.uint8)
    one[70:130, 70:130], other[70:130, 70:130] = pattern[70:130, 70:130], 255 - pattern[70:130, 70:130]
    hidden = [drawn(pixels, [face(70, 70, 60, 60)], annotation) for pixels in (one, other)]
    assert np.abs(hidden[0] - hidden[1]).max() <= 8
    assert np.abs(one.astype(int) - other).max() == 65


@pytest.mark.parametrize("annotation", list(Annotation))
@pytest.mark.parametrize(
    "box", [(0, 0, 400, 300), (-20, -10, 60, 60), (390, 290, 30, 30), (10, 10, 1, 1), (50, 50, 0, 0)]
)
def test_boxes_at_and_over_the_edges_are_drawn(annotation: Annotation, box: tuple[int, ...]) -> None:
    assert drawn(noise(), [face(*box)], annotation).shape == (300, 400, 3)


def test_an_annotated_picture_has_no_metadata_of_its_original() -> None:
    with Pillow.open(io.BytesIO(annotated(noise(), [], Annotation.NONE))) as picture:
        assert not picture.getexif() and picture.format == "JPEG"


@pytest.mark.parametrize(("sent", "meant"), [(True, "boxes"), ("false", "none"), ("0", "none"), ("blur", "blur")])
def test_booleans_are_still_understood(sent: object, meant: str) -> None:
    job = new_job(10, 10).model_dump() | {"annotation": sent}
    assert ImageJob.model_validate(job).annotation == meant
