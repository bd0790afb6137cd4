"""The pictures of one run: bytes and pixels that are fetched, decoded and drawn when they are first needed."""

from collections import OrderedDict
from uuid import UUID

from facet.images import Pixels, decode, draw_faces
from facet.jobs import ImageJob
from facet.storage import ObjectStore

_PIXEL_BYTES_KEPT = 256_000_000


class Pictures:
    """Keeps pictures in memory between a run's tasks, pixels up to a bound; what was dropped is made again.

    So tasks pass only small jobs to one another, and a retried run can go on in another process.
    """

    def __init__(self, store: ObjectStore, *, max_pixels: int) -> None:
        self._store = store
        self._max_pixels = max_pixels
        self._originals: dict[UUID, bytes] = {}
        self._pixels: OrderedDict[UUID, Pixels] = OrderedDict()
        self._annotated: dict[UUID, bytes] = {}

    def original(self, job: ImageJob) -> bytes:
        """The stored file. Raises ObjectNotFound and Unavailable as the store does."""
        if job.image_id not in self._originals:
            self._originals[job.image_id] = self._store.get(job.original_key)
        return self._originals[job.image_id]

    def pixels(self, job: ImageJob) -> Pixels:
        """The decoded picture, upright RGB. Raises ImageError besides what `original` raises."""
        if job.image_id not in self._pixels:
            self._pixels[job.image_id] = decode(self.original(job), max_pixels=self._max_pixels)
            while len(self._pixels) > 1 and sum(p.nbytes for p in self._pixels.values()) > _PIXEL_BYTES_KEPT:
                self._pixels.popitem(last=False)
        return self._pixels[job.image_id]

    def annotated(self, job: ImageJob) -> bytes:
        """The picture with its faces drawn, as JPEG."""
        if job.image_id not in self._annotated:
            self._annotated[job.image_id] = draw_faces(self.pixels(job), job.faces)
        return self._annotated[job.image_id]
