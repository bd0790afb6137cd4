"""The predecessor's routes, as its clients still speak them."""

from uuid import UUID

from fastapi import APIRouter, Response

from api import schemas
from api.access import Reader, Submitter
from api.problems import responses
from api.routes.images import PICTURE, accept, annotated_picture, read
from api.state import AppState

router = APIRouter(prefix="/api/image", tags=["predecessor"])


@router.post("/", status_code=202, responses=responses(413, 415, 422, 503))
def submit(
    state: AppState,
    who: Submitter,
    image: schemas.ImageFile,
    request_id: schemas.RequestId,
    callback_url: schemas.CallbackUrl,
    min_confidence: schemas.MinConfidence = None,
) -> schemas.LegacyAccepted:
    """Submit a photo, as `POST /v1/images` does."""
    stored = accept(
        state,
        who,
        read(image, state.services.settings),
        image.filename,
        request_id=request_id,
        callback_url=callback_url,
        min_confidence=min_confidence,
        min_face_size=None,
        annotate=True,
    )
    return schemas.LegacyAccepted(image_id=stored.id, request_id=stored.request_id)


@router.get(
    "/",
    response_class=Response,
    responses=PICTURE | responses(404, 422, 503),
)
def download(state: AppState, who: Reader, image_id: UUID) -> Response:
    """Download the annotated picture."""
    return annotated_picture(state, image_id, who)
