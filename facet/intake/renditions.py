"""Pictures that are drawn when they are asked for, from an original and the faces of its present result."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

import cv2
import numpy as np

from facet.annotations import Annotation
from facet.errors import Overloaded
from facet.jobs import FoundFace
from facet.persistence.models import Image
from facet.pictures.codec import Pixels
from facet.pictures.decoder import Decoder
from facet.pictures.drawing import annotated
from facet.storage import ObjectStore

_WAIT_SECONDS = 10.0
_BUSY = "Too many pictures are being drawn."
_MOST_WAITING = 16
"""Each holds a thread of the API, which has some forty for all requests."""


class Renditions:
    """Draws one picture at a time in a process, so that a core, and the memory of one picture, is all that it takes."""

    def __init__(self, store: ObjectStore, decoder: Decoder) -> None:
        self._store = store
        self._decoder = decoder
        self._place = BoundedSemaphore(1)
        self._waiting = BoundedSemaphore(_MOST_WAITING)

    def draw(self, image: Image, annotation: Annotation, *, max_side: int | None = None) -> bytes:
        """A JPEG of a completed image, of which the longer side is at most `max_side` pixels.

        Raises Overloaded when too many wait, ObjectNotFound, ImageError, and Unavailable as the store does.
        """
        faces = [FoundFace(confidence=face.confidence, box=face.box, keypoints={}) for face in image.faces]
        with self._turn():
            pixels = self._decoder.decode(self._store.get(image.original_key), min_side=max_side)
            pixels = _reduced(pixels, max_side)
            factor = pixels.shape[1] / (image.width or pixels.shape[1])
            return annotated(pixels, [face.scaled(factor) for face in faces], annotation)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise Overloaded(_BUSY)
        try:
            if not self._place.acquire(timeout=_WAIT_SECONDS):
                raise Overloaded(_BUSY)
        finally:
            self._waiting.release()
        try:
            yield
        finally:
            self._place.release()


def _reduced(pixels: Pixels, max_side: int | None) -> Pixels:
    height, width = pixels.shape[:2]
    factor = max_side / max(height, width) if max_side else 1
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
