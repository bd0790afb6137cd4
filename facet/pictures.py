"""The pictures of one run: bytes and pixels that are fetched, decoded and drawn when they are first needed."""

from collections import OrderedDict
from typing import TypeVar
from uuid import UUID

import numpy as np

from facet.decoding import Decoder
from facet.drawing import annotated
from facet.images import Pixels
from facet.jobs import ImageJob
from facet.storage import ObjectStore

_PIXEL_BYTES_KEPT = 256_000_000
_FILE_BYTES_KEPT = 64_000_000

Held = TypeVar("Held", bytes, Pixels)


class Pictures:
    """Keeps pictures in memory between a run's tasks, up to a bound; what was dropped is made again.

    So tasks pass only small jobs to one another, and a retried run can go on in another process.
    """

    def __init__(self, store: ObjectStore, decoder: Decoder, *, enough: int | None) -> None:
        """`enough`: the longer side, in pixels, that will do for a huge picture; see `facet.images.decode`."""
        self._store = store
        self._decoder = decoder
        self._enough = enough
        self._originals: OrderedDict[UUID, bytes] = OrderedDict()
        self._pixels: OrderedDict[UUID, Pixels] = OrderedDict()
        self._annotated: OrderedDict[UUID, bytes] = OrderedDict()

    def original(self, job: ImageJob) -> bytes:
        """The stored file. Raises ObjectNotFound and Unavailable as the store does."""
        if (data := self._originals.get(job.image_id)) is None:
            data = self._store.get(job.original_key)
            self.keep_original(job, data)
        return data

    def keep_original(self, job: ImageJob, data: bytes) -> None:
        """Keep a file that was just stored."""
        self._originals[job.image_id] = data
        _drop_oldest(self._originals, _FILE_BYTES_KEPT)

    def pixels(self, job: ImageJob) -> Pixels:
        """The decoded picture, upright RGB, perhaps reduced. Raises ImageError besides what `original` raises."""
        if (pixels := self._pixels.get(job.image_id)) is None:
            pixels = self._pixels[job.image_id] = self._decoder.decode(self.original(job), enough=self._enough)
            _drop_oldest(self._pixels, _PIXEL_BYTES_KEPT)
        return pixels

    def annotated(self, job: ImageJob) -> bytes:
        """The picture with its faces shown or hidden, as JPEG; of the size of its pixels."""
        if (drawn := self._annotated.get(job.image_id)) is None:
            pixels = self.pixels(job)
            faces = [face.scaled(pixels.shape[1] / job.width) for face in job.faces]
            drawn = annotated(pixels, faces, job.annotate)
            self._annotated[job.image_id] = drawn
            _drop_oldest(self._annotated, _FILE_BYTES_KEPT)
        return drawn


def _drop_oldest(kept: OrderedDict[UUID, Held], limit: int) -> None:
    while (
        len(kept) > 1
        and sum(held.nbytes if isinstance(held, np.ndarray) else len(held) for held in list(kept.values())) > limit
    ):
        kept.popitem(last=False)
