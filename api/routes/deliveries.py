"""`/v1/deliveries`: the deliveries of callbacks, what became of each attempt, and sending one again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api import schemas, views
from api.access import Reader, Submitter
from api.problems import Problem, responses
from api.state import AppState
from facet.persistence.models import DeliveryState

router = APIRouter(prefix="/v1/deliveries", tags=["deliveries"])


@router.get("", responses=responses(422, 503))
def list_deliveries(
    state: AppState,
    who: Reader,
    delivery_state: Annotated[DeliveryState | None, Query(alias="state")] = None,
    image_id: UUID | None = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.DeliveryPage:
    """The deliveries of callbacks, newest first."""
    page = state.services.deliveries.page(who, state=delivery_state, image_id=image_id, cursor=cursor, limit=limit)
    return schemas.DeliveryPage(
        deliveries=[views.delivery(row) for row in page.deliveries], next_cursor=page.next_cursor
    )


@router.get("/{delivery_id}", responses=responses(404, 422, 503))
def get_delivery(state: AppState, who: Reader, delivery_id: UUID) -> schemas.FullDelivery:
    """A delivery with the callback's body and every attempt at it."""
    row = state.services.deliveries.find(delivery_id, who)
    if row is None:
        raise _unknown(delivery_id)
    return views.full_delivery(row)


@router.post("/{delivery_id}/redeliver", status_code=202, responses=responses(404, 422, 503))
def redeliver(state: AppState, who: Submitter, response: Response, delivery_id: UUID) -> schemas.Delivery:
    """Send a callback again within seconds, taken or given up as it may be: the same id, the same body."""
    row = state.services.deliveries.redeliver(delivery_id, who)
    if row is None:
        raise _unknown(delivery_id)
    response.headers["Location"] = f"{state.services.settings.base_url}/v1/deliveries/{delivery_id}"
    response.headers["Retry-After"] = "2"
    return views.delivery(row)


def _unknown(delivery_id: UUID) -> Problem:
    return Problem(
        404, "unknown-delivery", f"There is no delivery {delivery_id}. Check the id; its image may have been removed."
    )
