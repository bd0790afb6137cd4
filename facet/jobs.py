"""One image on its way through a run: small, so that it can travel between tasks and be stored as their result."""

from collections import UserList
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from facet.annotations import AskedAnnotation


class FoundFace(BaseModel):
    """A face as the contract has it: box [x, y, width, height], keypoints [x, y], in pixels of the upright image."""

    confidence: float
    box: list[int]
    keypoints: dict[str, list[int]]

    def scaled(self, factor: float) -> "FoundFace":
        """The face on a picture of another size."""
        points = {name: [round(value * factor) for value in point] for name, point in self.keypoints.items()}
        return self.model_copy(update={"box": [round(value * factor) for value in self.box], "keypoints": points})


class Failure(BaseModel):
    """Why an image has no result: a stable word for programs, and a sentence for people."""

    code: str
    reason: str


CANCELLED = Failure(code="cancelled", reason="The flow run was cancelled.")
CRASHED = Failure(code="crashed", reason="The process that worked on the image died.")
OBJECT_MISSING = Failure(code="object-missing", reason="The stored picture is gone.")


class ImageJob(BaseModel):
    """An image as one claim works on it. Its writes hold only while `epoch` is the image's claim epoch."""

    image_id: UUID
    epoch: int
    request_id: str
    original_key: str
    annotated_key: str
    image_url: str | None = None
    """Where the picture is still to be fetched from, to be stored under `original_key`."""
    callback_url: str | None
    min_confidence: float
    min_face_size: int
    annotation: AskedAnnotation

    width: int = 0
    height: int = 0
    faces: list[FoundFace] = []
    detector: str | None = None
    timings: dict[str, float] = {}

    failure: Failure | None = None
    """The image cannot be processed: it is to be failed."""
    retryable: Failure | None = None
    """A part of the service does not answer: the image is to be tried again later."""
    lost: bool = False
    """Another claim, or a deletion, has taken the image over: this run has no more say."""

    yielded: bool = False
    """A bulk run leaves the image to a later run, since interactive work waits."""

    @property
    def live(self) -> bool:
        return not (self.failure or self.retryable or self.lost or self.yielded)

    @property
    def outcome(self) -> str:
        if self.lost:
            return "left to another run"
        if self.yielded:
            return "left to a later run"
        if error := self.failure or self.retryable:
            return f"{'failed' if self.failure else 'to be tried again'}: {error.reason}"
        return f"{len(self.faces)} {'face' if len(self.faces) == 1 else 'faces'}"

    def with_changes(self, **changes: Any) -> "ImageJob":
        return self.model_copy(update=changes)


class Jobs(UserList[ImageJob]):
    """The jobs of a run, in its order.

    No `list`: Prefect walks through the lists and models that a task is given, down to each keypoint's coordinates, in
    search of other tasks' results. This it takes as it is.
    """
