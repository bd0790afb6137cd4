"""`POST /v1/images` and `POST /v1/images:batch`: submit photos, as files or by URL."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile

from api import bodies, problems, schemas, views
from api.access import Submitter
from api.field_errors import FieldError
from api.problems import Problem, responses
from api.state import AppState, State
from facet.errors import ImageError
from facet.intake.catalog import Submission
from facet.intake.idempotency import Hold, KeyBusy, KeyReused, StoredAnswer, fingerprint
from facet.outbound.addresses import UrlRefused
from facet.persistence.models import Image
from facet.principals import Principal
from facet.settings import Settings

router = APIRouter(prefix="/v1/images", tags=["images"])
callbacks = APIRouter()


@callbacks.post(
    "{$request.body#/callback_url}",
    status_code=204,
    name="result",
    responses={"default": {"description": "Anything but 2xx is a failure; redirects are not followed."}},
)
def result(body: schemas.CallbackBody) -> None:
    """The image has ended. Any 2xx answer takes the callback."""


@router.post(
    "",
    status_code=202,
    response_model=schemas.Accepted,
    callbacks=callbacks.routes,
    responses=responses(400, 409, 413, 415, 422, 503),
    openapi_extra=bodies.content(schemas.ImageUpload, schemas.ImageLink),
)
def submit(
    state: AppState, who: Submitter, sent: bodies.Submission, idempotency_key: schemas.IdempotencyKey = None
) -> Response:
    """Submit a photo: as a file, stored before the answer, or by a URL, which a worker fetches.

    Sent again under the same `Idempotency-Key`, the same submission is answered as the first time, another one with
    422, and one that is still in progress with 409.
    """
    settings = state.services.settings
    state.services.catalog.check_room()

    content = _content(sent.fields.model_dump(exclude={"image"}), getattr(sent.fields, "image", None))
    with _once(state, who, idempotency_key, content) as submission:
        if not submission.answer:
            image = store(state, who, sent.fields, sent.refused_urls)
            submission.commit(
                [image],
                lambda: StoredAnswer(
                    202, settings.image_url(image.id), views.accepted(image, settings).model_dump_json()
                ),
            )
    return submission.response()


@router.post(
    ":batch",
    status_code=202,
    response_model=schemas.BatchAccepted,
    responses=responses(400, 409, 413, 415, 422, 503),
    openapi_extra=bodies.content(schemas.BatchUpload, schemas.BatchLinks),
)
def submit_batch(
    state: AppState, who: Submitter, sent: bodies.BatchItems, idempotency_key: schemas.IdempotencyKey = None
) -> Response:
    """Submit up to 100 photos, as files or by URLs. One that is refused does not keep the others from being taken.

    The answer has a result for each, in their order. An `Idempotency-Key` is for the batch as a whole.
    """
    state.services.catalog.check_room()

    content = hashlib.sha256("".join(_content(*bodies.without_file(item)) for item in sent.fields).encode()).hexdigest()
    with _once(state, who, idempotency_key, content) as submission:
        if not submission.answer:
            outcomes = [_accept_item(state, who, item, sent.refused_urls) for item in sent.fields]
            submission.commit(
                [outcome for outcome in outcomes if isinstance(outcome, Image)],
                lambda: _batch_answer(outcomes, state.services.settings),
            )
    return submission.response()


def _batch_answer(outcomes: Sequence[Image | Problem], settings: Settings) -> StoredAnswer:
    body = schemas.BatchAccepted(results=[_result(outcome, settings) for outcome in outcomes])
    return StoredAnswer(202, f"{settings.base_url}/v1/images", body.model_dump_json())


def _accept_item(state: State, who: Principal, item: Any, refused_urls: Mapping[str, UrlRefused]) -> Image | Problem:
    """An image of a batch, or what is wrong with it; an error that is not its own ends the batch."""
    _, file = bodies.without_file(item)
    model: type[schemas.ImageUpload | schemas.ImageLink] = schemas.ImageUpload if file else schemas.ImageLink
    try:
        return store(state, who, bodies.validated(model, item), refused_urls)
    except Problem as problem:
        return problem
    except RequestValidationError as error:
        return problems.invalid(error)


def _result(outcome: Image | Problem, settings: Settings) -> schemas.BatchItem:
    if isinstance(outcome, Problem):
        return schemas.BatchItem(status=outcome.status, problem=problems.details(outcome))
    return schemas.BatchItem(status=202, image=views.accepted(outcome, settings))


def _content(fields: Any, image: UploadFile | None) -> str:
    """The fingerprint of one image and its fields."""
    if image is None:
        return fingerprint({"sent": fields}, b"")
    data = image.file.read()
    image.file.seek(0)
    return fingerprint({"sent": fields, "filename": image.filename}, data)


@dataclass
class _Submission:
    """A request's work, of an idempotency key done once; `answer` is there from the start where it was done before."""

    state: State
    hold: Hold | None = None
    answer: StoredAnswer | None = None
    replayed: bool = False

    def commit(self, images: Sequence[Image], answer: Callable[[], StoredAnswer]) -> None:
        """Commit the images and, in the same transaction, the answer of the key."""

        def also(session: Session) -> None:
            self.answer = answer()
            if self.hold:
                self.state.services.idempotency.complete(session, self.hold, self.answer)

        self.state.services.catalog.commit(images, also)
        self.state.dispatcher.wake()

    def response(self) -> Response:
        assert self.answer
        headers = {"Location": self.answer.location, "Retry-After": "2"}
        headers |= {"Idempotency-Replayed": "true"} if self.replayed else {}
        return Response(self.answer.body, self.answer.status_code, headers, "application/json")


@contextmanager
def _once(state: State, who: Principal, key: str | None, content: str) -> Iterator[_Submission]:
    """Hold the key while the block does its work; the key of work that fails may be used again."""
    submission = _Submission(state)
    try:
        begun = state.services.idempotency.begin(key, content, who.owner or "") if key else None
        if isinstance(begun, StoredAnswer):
            submission.answer, submission.replayed = begun, True
        else:
            submission.hold = begun
        yield submission
    except KeyReused:
        message, fix = "The key was sent before, with another content.", "Send a new key with a new submission."
        error = FieldError(field="Idempotency-Key", message=message, fix=fix)
        raise Problem(422, "key-reused", f"{message} {fix}", errors=[error]) from None
    except KeyBusy:
        detail = "The first submission under this key is still in progress. Send it again shortly."
        raise Problem(409, "in-progress", detail, headers={"Retry-After": "2"}) from None
    except Exception:
        if submission.hold:
            state.services.idempotency.release(submission.hold)
        raise


def store(
    state: State, who: Principal, sent: schemas.ImageUpload | schemas.ImageLink, refused_urls: Mapping[str, UrlRefused]
) -> Image:
    """Check a submission and store its file. Raises Problem for what is wrong with it."""
    settings = state.services.settings
    image = sent.image if isinstance(sent, schemas.ImageUpload) else None
    image_url = sent.image_url if isinstance(sent, schemas.ImageLink) else None
    data = _read(image, settings) if image else None
    for field, url in (("callback_url", sent.callback_url), ("image_url", image_url)):
        if error := refused_urls.get(url or ""):
            raise problems.of_url(error, field)
    try:
        return state.services.catalog.store(
            Submission(
                data=data,
                image_url=image_url,
                request_id=sent.request_id,
                filename=_printable(image.filename) if image and image.filename else None,
                callback_url=sent.callback_url,
                min_confidence=settings.min_confidence if sent.min_confidence is None else sent.min_confidence,
                min_face_size=settings.min_face_size if sent.min_face_size is None else sent.min_face_size,
                annotation=sent.annotate,
                owner=who.owner,
            )
        )
    except ImageError as error:
        raise problems.of_image(error) from error


def _read(image: UploadFile, settings: Settings) -> bytes:
    data = image.file.read(settings.max_image_bytes + 1)
    if not data:
        raise problems.of_image(ImageError("not-a-picture", "The file is empty."))
    if len(data) > settings.max_image_bytes:
        message, fix = "The file is too large.", f"Send at most {settings.max_image_bytes} bytes."
        error = FieldError(field="image", message=message, fix=fix)
        raise Problem(413, "too-large", f"{message} {fix}", errors=[error])
    return data


def _printable(filename: str) -> str:
    """What a sender calls a file, without what a terminal or a log would obey."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in filename)
    return escaped[:255]
