"""`/v1/pictures`: what a signed link shows, to whoever has it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.problems import Problem, responses
from api.routes.images import PICTURE, annotated_picture
from api.state import AppState
from facet.access.signed_links import BadLink, ExpiredLink
from facet.principals import EVERYONE

router = APIRouter(prefix="/v1/pictures", tags=["pictures"])


@router.get(
    "/{image_id}/annotated",
    response_class=Response,
    responses=PICTURE | responses(403, 404, 422, 503, public=True),
)
def get_picture(
    state: AppState,
    image_id: UUID,
    expires: Annotated[int, Query(ge=0, le=10**12)],
    signature: Annotated[str, Query(max_length=100)],
) -> Response:
    """The photo with its faces drawn, by a signed link: no key is needed until it expires."""
    try:
        state.services.links.check(image_id, expires, signature)
    except BadLink:
        raise Problem(403, "bad-link", "The link's signature is not of this picture. Use it unchanged.") from None
    except ExpiredLink:
        detail = f"The link has expired. Ask for /v1/images/{image_id}/annotated with a key."
        raise Problem(403, "expired-link", detail) from None
    return annotated_picture(state, image_id, EVERYONE)
