"""The predecessor's routes, as its clients still speak them."""

from uuid import UUID

from fastapi import APIRouter, Response

from api import bodies, schemas
from api.access import Reader, Submitter
from api.problems import responses
from api.routes.images import PICTURE, annotated_picture
from api.routes.submissions import store
from api.state import AppState

router = APIRouter(prefix="/api/image", tags=["predecessor"])


@router.post(
    "/",
    status_code=202,
    responses=responses(400, 413, 415, 422, 503),
    openapi_extra=bodies.content(schemas.LegacyUpload),
)
def submit(state: AppState, who: Submitter, sent: bodies.LegacySubmission) -> schemas.LegacyAccepted:
    """Submit a photo, as `POST /v1/images` does."""
    state.services.catalog.check_room()
    image = store(state, who, sent.fields, sent.refused_urls)
    state.services.catalog.commit([image])
    state.dispatcher.wake()
    return schemas.LegacyAccepted(image_id=image.id, request_id=image.request_id)


@router.get(
    "/",
    response_class=Response,
    responses=PICTURE | responses(404, 422, 503),
)
def download(state: AppState, who: Reader, image_id: UUID) -> Response:
    """Download the annotated picture."""
    return annotated_picture(state, image_id, who)
