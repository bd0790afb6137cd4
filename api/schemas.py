"""What the API takes and answers."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Header, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemDetails
from facet.annotations import Annotation, AskedAnnotation
from facet.persistence.models import DeliveryState, ImageStatus, ReprocessingState
from facet.pictures.codec import FORMATS
from facet.reprocessing.request import ReprocessingRequest

_BOX = [205, 130, 34, 44]
_KEYPOINTS = {
    "left_eye": [216, 146],
    "right_eye": [233, 148],
    "nose": [224, 157],
    "mouth_left": [216, 165],
    "mouth_right": [230, 166],
}
_ID = "7c0f6a4e-6f0b-4d5c-9a39-3c1f0b8a52de"
_SELF = f"http://127.0.0.1:8000/v1/images/{_ID}"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Your name for this submission: sent again under it, it is done once and answered the same.",
    ),
]


class SubmissionFields(BaseModel):
    """What can be asked of each image."""

    request_id: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",  # PostgreSQL keeps no NUL, and logs should have no line breaks
        description="Your name for the request, without control characters; it comes back in the callback.",
    )
    callback_url: str | None = Field(
        None, max_length=2000, description="Where the result is POSTed: http or https, at a public address."
    )
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Only faces of more than this confidence. Default: 0.94."
    )
    min_face_size: int | None = Field(
        None, ge=10, le=10_000, description="Smallest face searched for, in pixels. Default: 20."
    )
    annotate: AskedAnnotation = Field(
        Annotation.BOXES,
        description="What is made of the faces in the annotated picture: `boxes` around them, or hidden by `blur` or "
        "`pixelate`; `none`: no such picture. `true` is boxes, `false` none.",
    )


class ImageUpload(SubmissionFields):
    image: UploadFile = Field(description=f"The photo: {FORMATS}.")


class ImageLink(SubmissionFields):
    model_config = ConfigDict(extra="forbid")

    image_url: str = Field(
        min_length=1,
        max_length=2000,
        examples=["https://example.com/photo.jpg"],
        description=f"Where a worker fetches the photo: http or https, at a public address. {FORMATS}.",
    )


class LegacyUpload(ImageUpload):
    callback_url: str = Field(max_length=2000, description="Where the result is POSTed.")


class BatchUpload(SubmissionFields):
    """The fields are for all images alike; only `request_id` may also be sent once for each, in their order."""

    image: list[UploadFile]


class BatchLinks(BaseModel):
    """Each image with fields of its own."""

    images: list[ImageLink]


class Links(BaseModel):
    """Where to go from here; `annotated` and `flow_run` answer 404 with the reason while there is nothing yet."""

    self: str = Field(examples=[_SELF])
    original: str = Field(examples=[f"{_SELF}/original"])
    annotated: str | None = Field(examples=[f"{_SELF}/annotated"])
    flow_run: str = Field(examples=[f"{_SELF}/flow-run"], description="Leads to the flow run in the Prefect UI.")


class Accepted(BaseModel):
    """The image is stored and will be processed."""

    id: UUID = Field(examples=[_ID])
    request_id: str = Field(examples=["holiday-17"])
    status: ImageStatus = Field(examples=["queued"])
    links: Links


class BatchItem(BaseModel):
    """What became of one image of a batch: `image`, or `problem` with its `status`."""

    status: int = Field(examples=[202])
    image: Accepted | None = None
    problem: ProblemDetails | None = None


class BatchAccepted(BaseModel):
    results: list[BatchItem] = Field(description="One for each image, in the order of the request.")


class Face(BaseModel):
    """A face; pixels are those of the upright image."""

    id: UUID
    confidence: float = Field(examples=[0.99998])
    box: list[int] = Field(min_length=4, max_length=4, examples=[_BOX], description="[x, y, width, height] in pixels.")
    box_normalized: list[float] = Field(
        min_length=4,
        max_length=4,
        examples=[[0.2288, 0.2083, 0.0379, 0.0705]],
        description="The same, as fractions of the image's width and height.",
    )
    keypoints: dict[str, list[int]] = Field(
        examples=[_KEYPOINTS],
        description="[x, y] in pixels of both eyes, nose and corners of the mouth.",
    )


class FlowRun(BaseModel):
    """The Prefect flow run that took the image last."""

    id: UUID
    name: str | None = Field(description="Null where other images are in the run, unless with an admin key.")
    url: str


class Failure(BaseModel):
    code: str = Field(examples=["undecodable"])
    reason: str = Field(examples=["The picture does not decode."])


class Attempt(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    at: datetime
    status_code: int | None
    seconds: float | None = Field(description="How long it took; null while it is under way.")
    answer: str | None = Field(description="The first 2 KB of the receiver's answer.")
    error: str | None = Field(examples=["The receiver answered 503."])


class Callback(BaseModel):
    """The latest delivery of the image's callback."""

    id: UUID
    url: str
    state: DeliveryState
    attempts: list[Attempt]


class Image(BaseModel):
    """An image and what became of it."""

    id: UUID = Field(examples=[_ID])
    request_id: str = Field(examples=["holiday-17"])
    status: ImageStatus
    failure: Failure | None
    created_at: datetime
    finished_at: datetime | None
    filename: str | None = Field(description="As the sender named the file; nothing is stored under it.")
    image_url: str | None = Field(description="Where the image was, or is still to be, fetched from.")
    media_type: str | None = Field(
        examples=["image/jpeg"], description="As its content says; null until it is fetched."
    )
    size_bytes: int | None
    width: int | None = Field(description="Pixels of the upright image.")
    height: int | None = Field(description="Pixels of the upright image.")
    min_confidence: float
    min_face_size: int
    annotate: Annotation
    faces: list[Face]
    detector: str | None = Field(examples=["mtcnn 1.0.0"])
    timings: dict[str, float] = Field(
        examples=[{"waited": 0.4, "fetch": 0.002, "detect": 0.13, "total": 1.1}],
        description="Seconds of each step.",
    )
    flow_run: FlowRun | None
    callback: Callback | None
    reprocessing_id: UUID | None = Field(
        description="While the image is detected in again: by which reprocessing. Its former result is read meanwhile."
    )
    links: Links


class Delivery(BaseModel):
    """What carries one callback: a result, and the attempts to tell its sender."""

    id: UUID = Field(examples=[_ID], description="The `webhook-id` of every attempt.")
    image_id: UUID
    url: str = Field(examples=["https://example.com/callback"])
    state: DeliveryState
    reason: str | None = Field(description="Why it is failed.", examples=["Given up after the last retry."])
    created_at: datetime
    finished_at: datetime | None
    next_attempt_at: datetime | None = Field(description="When it is tried again at the earliest; null when it is not.")
    attempts: list[Attempt]


class FullDelivery(Delivery):
    body: str = Field(description="What is POSTed, to the byte, on every attempt.")


class DeliveryPage(BaseModel):
    deliveries: list[Delivery]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class ImagePage(BaseModel):
    images: list[Image]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class ReprocessingLinks(BaseModel):
    self: str


class Reprocessing(BaseModel):
    """Detection again in many stored images, and how far it is: `taken` is the sum of the four counts that follow."""

    id: UUID = Field(examples=[_ID])
    state: ReprocessingState
    request: ReprocessingRequest
    detector: str | None = Field(examples=["mtcnn 1.0.0"], description="The detector, once the first run has begun.")
    total: int | None = Field(description="Images that matched when the first run began; null before that.")
    taken: int = Field(description="Images that were put in the queue.")
    open: int = Field(description="… that still wait or are processed.")
    completed: int = Field(description="… that have a new result.")
    failed: int = Field(description="… that got none, and keep the one that they had.")
    cancelled: int = Field(description="… that were left as they were.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    flow_run: FlowRun | None = Field(description="The flow run that works on it, or did so last.")
    links: ReprocessingLinks


class ReprocessingPage(BaseModel):
    reprocessings: list[Reprocessing]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class CallbackFace(BaseModel):
    confidence: float = Field(examples=[0.99998])
    box: list[int] = Field(min_length=4, max_length=4, examples=[_BOX])
    keypoints: dict[str, list[int]] = Field(examples=[_KEYPOINTS])


class CallbackBody(BaseModel):
    """What is POSTed to `callback_url` when the image has ended."""

    image_id: UUID = Field(examples=[_ID])
    request_id: str = Field(examples=["holiday-17"])
    faces: list[CallbackFace]
    output_image_url: str | None = Field(examples=[f"{_SELF}/annotated"])
    status: ImageStatus = Field(examples=["completed"])
    failure: Failure | None


class Activity(BaseModel):
    """Counts of images; the lists are of the last five minutes, oldest first."""

    queued: int = Field(description="Images that wait now.")
    processing: int = Field(description="Images that are in work now.")
    step_seconds: int = Field(description="Seconds of each step of the lists.")
    finished: list[int] = Field(description="Images that finished in each step.")
    unfinished: list[int] = Field(description="Images that waited or were in work at the end of each step.")


class Part(BaseModel):
    """One part that the service needs."""

    status: str = Field(examples=["ok"])
    detail: str | None = None


class Readiness(BaseModel):
    status: str = Field(
        examples=["ok"],
        description="`ok`, `degraded` (submissions are taken; `parts` says what is amiss), or `unavailable`.",
    )
    parts: dict[str, Part]


class LegacyAccepted(BaseModel):
    """The predecessor's answer, with the image's id that it lacked."""

    status: str = Field("ok", examples=["ok"])
    image_id: UUID = Field(examples=[_ID])
    request_id: str = Field(examples=["123456789"])
