"""The pictures of one run: bytes and pixels that are fetched, decoded and drawn when they are first needed."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Generic, TypeVar
from uuid import UUID

import numpy as np

from facet.jobs import ImageJob
from facet.pictures.codec import Pixels
from facet.pictures.decoder import Decoder
from facet.pictures.drawing import annotated
from facet.storage import ObjectStore

_PIXEL_BYTES_KEPT = 256_000_000
_FILE_BYTES_KEPT = 64_000_000
_ANNOTATED_BYTES_KEPT = 160_000_000
"""Of a run's 200 million pixels: photos as JPEG take up to six bits each."""

Held = TypeVar("Held", bytes, Pixels)


class Pictures:
    """Keeps pictures in memory between a run's tasks, up to a bound; what was dropped is made again.

    So tasks pass only small jobs to one another, and a retried run can go on in another process.
    """

    def __init__(self, store: ObjectStore, decoder: Decoder, *, min_side: int | None) -> None:
        """`min_side`: pixels of the longer side that will do for a huge picture; see `facet.pictures.codec.decode`."""
        self._store = store
        self._decoder = decoder
        self._min_side = min_side
        self._originals: _Kept[bytes] = _Kept(_FILE_BYTES_KEPT)
        self._pixels: _Kept[Pixels] = _Kept(_PIXEL_BYTES_KEPT)
        self._annotated: _Kept[bytes] = _Kept(_ANNOTATED_BYTES_KEPT)

    def original(self, job: ImageJob) -> bytes:
        """The stored file. Raises ObjectNotFound and Unavailable as the store does."""
        if (data := self._originals.get(job.image_id)) is None:
            data = self._store.get(job.original_key)
            self.keep_original(job, data)
        return data

    def keep_original(self, job: ImageJob, data: bytes) -> None:
        """Keep a file that was just stored."""
        self._originals.put(job.image_id, data)

    def pixels(self, job: ImageJob) -> Pixels:
        """The decoded picture, upright RGB, perhaps reduced. Raises ImageError besides what `original` raises."""
        if (pixels := self._pixels.get(job.image_id)) is None:
            pixels = self._decoder.decode(self.original(job), min_side=self._min_side)
            self._pixels.put(job.image_id, pixels)
        return pixels

    def let_go(self, jobs: Iterable[ImageJob]) -> None:
        """Keep these pictures' pixels no longer: they were searched and drawn."""
        for job in jobs:
            self._pixels.drop(job.image_id)

    def annotated(self, job: ImageJob) -> bytes:
        """The picture with its faces shown or hidden, as JPEG; of the size of its pixels."""
        if (drawn := self._annotated.get(job.image_id)) is None:
            pixels = self.pixels(job)
            faces = [face.scaled(pixels.shape[1] / job.width) for face in job.faces]
            drawn = annotated(pixels, faces, job.annotation)
            self._annotated.put(job.image_id, drawn)
        return drawn


class _Kept(Generic[Held]):
    """The newest of what was put in, up to a bound in bytes, but at least one; several threads may use it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[UUID, Held] = OrderedDict()
        # A UUID's hash is Python code, so that another thread may come in the middle of any access.
        self._lock = Lock()

    def get(self, key: UUID) -> Held | None:
        with self._lock:
            return self._held.get(key)

    def put(self, key: UUID, held: Held) -> None:
        with self._lock:
            self._held[key] = held
            while len(self._held) > 1 and sum(map(_size, self._held.values())) > self._limit:
                self._held.popitem(last=False)

    def drop(self, key: UUID) -> None:
        with self._lock:
            self._held.pop(key, None)


def _size(held: bytes | Pixels) -> int:
    return held.nbytes if isinstance(held, np.ndarray) else len(held)
