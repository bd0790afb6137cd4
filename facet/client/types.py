"""What the API answers, as far as a client reads it: plain dictionaries, so that nothing that it adds is lost."""

from typing import Any, Literal, TypedDict

Status = Literal["queued", "processing", "completed", "failed", "cancelled"]
Annotation = Literal["boxes", "blur", "pixelate", "none"]


class Links(TypedDict):
    self: str
    original: str
    annotated: str | None
    flow_run: str


class Accepted(TypedDict):
    """An image that was submitted."""

    id: str
    request_id: str
    status: Status
    links: Links


class Failure(TypedDict):
    code: str
    reason: str


class Face(TypedDict):
    """`box` [x, y, width, height] and `keypoints` [x, y] in pixels of the upright photo."""

    confidence: float
    box: list[int]
    keypoints: dict[str, list[int]]


class FlowRun(TypedDict):
    id: str
    name: str | None
    url: str


class Image(Accepted):
    """An image and what became of it. Times are ISO 8601."""

    failure: Failure | None
    faces: list[Face]
    created_at: str
    finished_at: str | None
    filename: str | None
    image_url: str | None
    media_type: str | None
    size_bytes: int | None
    width: int | None
    height: int | None
    min_confidence: float
    min_face_size: int
    annotate: Annotation
    detector: str | None
    timings: dict[str, float]
    flow_run: FlowRun | None
    callback: dict[str, Any] | None
    reprocessing_id: str | None


class Attempt(TypedDict):
    at: str
    status_code: int | None
    seconds: float | None
    answer: str | None
    error: str | None


class Delivery(TypedDict):
    """What carries a callback: its state and its attempts."""

    id: str
    image_id: str
    url: str
    state: Literal["pending", "delivered", "failed"]
    reason: str | None
    created_at: str
    finished_at: str | None
    next_attempt_at: str | None
    attempts: list[Attempt]


class Callback(TypedDict):
    """What is POSTed to a `callback_url`."""

    image_id: str
    request_id: str
    faces: list[Face]
    output_image_url: str | None
    status: Status
    failure: Failure | None


class Reprocessing(TypedDict):
    id: str
    state: Literal["active", "paused", "completed", "cancelled"]
    request: dict[str, Any]
    detector: str | None
    total: int | None
    taken: int
    open: int
    completed: int
    failed: int
    cancelled: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    flow_run: FlowRun | None


class SubmissionFields(TypedDict, total=False):
    """What can be asked of an image; what is None is left to the service."""

    callback_url: str | None
    min_confidence: float | None
    min_face_size: int | None
    annotate: Annotation | None
