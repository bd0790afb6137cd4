"""`/v1/images`: submit photos, and see what became of them."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response, UploadFile
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from api import schemas, views
from api.access import Reader, Submitter
from api.problems import FieldError, Problem, responses
from api.state import AppState, State
from deployments.flow_runs import ui_url
from facet.access import Principal
from facet.catalog import Submission
from facet.idempotency import Hold, KeyBusy, KeyReused, StoredAnswer, fingerprint
from facet.models import Image, ImageStatus
from facet.settings import Settings

router = APIRouter(prefix="/v1/images", tags=["images"])
callbacks = APIRouter()

PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}}


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
    responses=responses(409, 413, 415, 422, 503),
)
def submit(
    state: AppState,
    who: Submitter,
    image: schemas.ImageFile,
    request_id: schemas.RequestId,
    callback_url: schemas.CallbackUrl = None,
    min_confidence: schemas.MinConfidence = None,
    min_face_size: schemas.MinFaceSize = None,
    annotate: schemas.Annotate = True,
    idempotency_key: schemas.IdempotencyKey = None,
) -> Response:
    """Submit a photo. It is stored before the answer, and processed by a Prefect flow run after it.

    Sent again under the same `Idempotency-Key`, the same submission is answered as the first time, another one with
    422, and one that is still in progress with 409.
    """
    settings = state.services.settings
    data = read(image, settings)
    fields: dict[str, Any] = {
        "request_id": request_id,
        "callback_url": callback_url,
        "min_confidence": min_confidence,
        "min_face_size": min_face_size,
        "annotate": annotate,
    }

    def work(also: Also | None) -> StoredAnswer:
        return _answer(accept(state, who, data, image.filename, **fields, also=also), settings)

    if idempotency_key is None:
        answer, replayed = work(None), False
    else:
        content = fingerprint(fields | {"filename": image.filename}, data)
        answer, replayed = _once(state, who, idempotency_key, content, work)
    headers = {"Location": answer.location, "Retry-After": "2"} | ({"Idempotency-Replayed": "true"} if replayed else {})
    return Response(answer.body, answer.status_code, headers, "application/json")


Also = Callable[[Session, Image], None]


def _answer(image: Image, settings: Settings) -> StoredAnswer:
    body = views.accepted(image, settings).model_dump_json()
    return StoredAnswer(202, settings.image_url(image.id), body)


def _once(
    state: State, who: Principal, key: str, content: str, work: Callable[[Also], StoredAnswer]
) -> tuple[StoredAnswer, bool]:
    """Do the work of a key once. Returns its answer, and whether that is of an earlier request."""
    keys = state.services.idempotency
    hold: Hold | None = None
    try:
        begun = keys.begin(key, content, who.owner or "")
        if isinstance(begun, StoredAnswer):
            return begun, True
        hold = begun

        def also(session: Session, image: Image) -> None:
            keys.complete(session, begun, _answer(image, state.services.settings))

        return work(also), False
    except KeyReused:
        message, fix = "The key was sent before, with another content.", "Send a new key with a new submission."
        error = FieldError(field="Idempotency-Key", message=message, fix=fix)
        raise Problem(422, "key-reused", f"{message} {fix}", errors=[error]) from None
    except KeyBusy:
        detail = "The first submission under this key is still in progress. Send it again shortly."
        raise Problem(409, "in-progress", detail, headers={"Retry-After": "2"}) from None
    except Exception:
        if hold:
            keys.release(hold)
        raise


def read(image: UploadFile, settings: Settings) -> bytes:
    """The submitted file. Raises Problem 413."""
    data = image.file.read(settings.max_image_bytes + 1)
    if len(data) > settings.max_image_bytes:
        message, fix = "The file is too large.", f"Send at most {settings.max_image_bytes} bytes."
        raise Problem(
            413, "too-large", f"{message} {fix}", errors=[FieldError(field="image", message=message, fix=fix)]
        )
    return data


def accept(
    state: State,
    who: Principal,
    data: bytes,
    filename: str | None,
    *,
    request_id: str,
    callback_url: str | None,
    min_confidence: float | None,
    min_face_size: int | None,
    annotate: bool,
    also: Also | None = None,
) -> Image:
    """Store a submission and wake the dispatcher; `also` is done in the transaction that stores it."""
    settings = state.services.settings
    state.services.catalog.check_room()
    if callback_url is not None:
        state.services.addresses.check(callback_url)
    stored = state.services.catalog.accept(
        Submission(
            data=data,
            request_id=request_id,
            filename=filename.replace("\x00", "")[:255] if filename else None,
            callback_url=callback_url,
            min_confidence=settings.min_confidence if min_confidence is None else min_confidence,
            min_face_size=settings.min_face_size if min_face_size is None else min_face_size,
            annotate=annotate,
            owner=who.owner,
        ),
        also,
    )
    state.dispatcher.nudge()
    return stored


@router.get("", responses=responses(422, 503))
def list_images(
    state: AppState,
    who: Reader,
    status: ImageStatus | None = None,
    request_id: Annotated[str | None, Query(max_length=200)] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.ImagePage:
    """The images, newest first."""
    page = state.services.catalog.page(who, status=status, request_id=request_id, cursor=cursor, limit=limit)
    settings = state.services.settings
    return schemas.ImagePage(
        images=[views.full(image, settings, who) for image in page.images], next_cursor=page.next_cursor
    )


@router.get("/{image_id}", responses=responses(404, 422, 503))
def get_image(state: AppState, who: Reader, image_id: UUID) -> schemas.Image:
    """An image, its faces, and how it got there."""
    return views.full(find(state, image_id, who), state.services.settings, who)


@router.get("/{image_id}/original", response_class=Response, responses=PICTURE | responses(404, 422, 503))
def get_original(state: AppState, who: Reader, image_id: UUID) -> Response:
    """The photo as it was submitted."""
    image = find(state, image_id, who)
    return Response(state.services.catalog.original(image), media_type=image.media_type, headers=_HEADERS)


@router.get("/{image_id}/annotated", response_class=Response, responses=PICTURE | responses(404, 422, 503))
def get_annotated(state: AppState, who: Reader, image_id: UUID) -> Response:
    """The photo with its faces drawn."""
    return annotated_picture(state, image_id, who)


@router.get(
    "/{image_id}/flow-run",
    status_code=307,
    response_class=RedirectResponse,
    responses=responses(404, 422, 503),
)
def get_flow_run(state: AppState, who: Reader, image_id: UUID) -> RedirectResponse:
    """Go to the image's flow run in the Prefect UI."""
    image = find(state, image_id, who)
    if image.run is None or image.run.flow_run_id is None:
        raise Problem(404, "not-yet", "The image waits in the queue; no flow run has taken it yet.")
    return RedirectResponse(ui_url(image.run.flow_run_id, state.services.settings))


@router.delete("/{image_id}", status_code=204, responses=responses(404, 422, 503))
def delete_image(state: AppState, who: Submitter, image_id: UUID) -> None:
    """Remove the image with its faces and pictures."""
    if not state.services.catalog.remove(image_id, who):
        raise _unknown(image_id)


_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache"}


def annotated_picture(state: State, image_id: UUID, who: Principal) -> Response:
    """The present annotated picture. Raises Problem 404 with the reason while there is none."""
    image = find(state, image_id, who)
    picture = state.services.catalog.annotated(image)
    if picture is None:
        raise Problem(404, *_why_not_annotated(image))
    headers = _HEADERS | {"Content-Disposition": f'inline; filename="{image.id}.jpg"'}
    return Response(picture, media_type="image/jpeg", headers=headers)


def _why_not_annotated(image: Image) -> tuple[str, str]:
    if image.status in (ImageStatus.QUEUED, ImageStatus.PROCESSING):
        return (
            "not-yet",
            f"The image is {image.status}; its annotated picture is not there yet. Try again shortly.",
        )
    if image.status is ImageStatus.COMPLETED and image.annotate:
        return "gone", "The annotated picture was lost from the object store, and could not be drawn anew."
    if image.status is ImageStatus.COMPLETED:
        return "not-annotated", "The image was submitted with annotate=false."
    return "no-result", f"The image is {image.status}: {image.failure_reason}"


def find(state: State, image_id: UUID, who: Principal) -> Image:
    image = state.services.catalog.find(image_id, who)
    if image is None:
        raise _unknown(image_id)
    return image


def _unknown(image_id: UUID) -> Problem:
    return Problem(404, "unknown-image", f"There is no image {image_id}. Check the id; it may have been removed.")
