"""`/v1/images`: submit photos, and see what became of them."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from api import schemas, views
from api.access import Reader, Submitter
from api.problems import Problem, responses
from api.state import AppState, State
from deployments.prefect.flow_runs import ui_url
from facet.annotations import Annotation
from facet.errors import ImageError, ObjectNotFound
from facet.persistence.models import Image, ImageStatus
from facet.principals import Principal

router = APIRouter(prefix="/v1/images", tags=["images"])
PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}}


@router.get("", responses=responses(422, 503))
def list_images(
    state: AppState,
    who: Reader,
    status: ImageStatus | None = None,
    request_id: Annotated[str | None, Query(max_length=200)] = None,
    image_id: Annotated[list[UUID] | None, Query(max_length=200, description="Only these; may be repeated.")] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.ImagePage:
    """The images, newest first."""
    page = state.services.catalog.page(
        who, status=status, request_id=request_id, image_ids=image_id or (), cursor=cursor, limit=limit
    )
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
    if not image.is_stored:
        raise Problem(404, "not-yet", "The image is not fetched from its image_url yet. Try again shortly.")
    extension = str(image.media_type).removeprefix("image/")
    headers = _HEADERS | {"Content-Disposition": f'inline; filename="{image.id}.{extension}"'}
    return Response(state.services.catalog.original(image), media_type=image.media_type, headers=headers)


@router.get("/{image_id}/annotated", response_class=Response, responses=PICTURE | responses(404, 422, 503))
def get_annotated(
    state: AppState,
    who: Reader,
    request: Request,
    image_id: UUID,
    style: Annotated[Annotation | None, Query(description="Draw it so now. Default: as it was stored.")] = None,
    max_side: Annotated[int | None, Query(ge=16, le=16_384, description="Draw it no larger, in pixels.")] = None,
) -> Response:
    """The photo with its faces shown by boxes, or hidden; without metadata, such as where it was taken."""
    if style is None and max_side is None:
        return annotated_picture(state, image_id, who)
    image = find(state, image_id, who)
    if image.result_epoch is None:
        raise Problem(404, *_why_not_annotated(image))
    style = style or image.annotation
    headers = _HEADERS | {
        "Content-Disposition": f'inline; filename="{image.id}-{style}.jpg"',
        "ETag": f'"{image.result_epoch}-{style}-{max_side or 0}"',
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    try:
        picture = state.services.renditions.draw(image, style, max_side=max_side)
    except (ObjectNotFound, ImageError):
        raise Problem(
            404, "gone", "The photo was lost from the object store, so nothing can be drawn on it. Submit it again."
        ) from None
    return Response(picture, media_type="image/jpeg", headers=headers)


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
        raise Problem(404, "not-yet", "The image waits in the queue; no flow run has taken it yet. Try again shortly.")
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
    if image.status is ImageStatus.COMPLETED and image.annotation is not Annotation.NONE:
        return (
            "gone",
            "The annotated picture was lost, and could not be drawn anew. Submit the photo again.",
        )
    if image.status is ImageStatus.COMPLETED:
        return "not-annotated", "The image was submitted with annotate=none. Add ?style=boxes to have it drawn now."
    return "no-result", f"The image is {image.status}: {image.failure_reason} Submit it again once that is mended."


def find(state: State, image_id: UUID, who: Principal) -> Image:
    image = state.services.catalog.find(image_id, who)
    if image is None:
        raise _unknown(image_id)
    return image


def _unknown(image_id: UUID) -> Problem:
    return Problem(404, "unknown-image", f"There is no image {image_id}. Check the id; it may have been removed.")
