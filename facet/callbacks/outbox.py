"""The transactional outbox: the deliveries of callbacks.

A delivery is a row that is written in the transaction that ends its image. So no result is stored and not told, and
none is told and not stored. `facet.callbacks.sending` sends it, at least once, always with one id and one body.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from facet.jobs import FoundFace
from facet.outbound.addresses import UrlRefused, parse_url
from facet.persistence.models import Delivery, DeliveryState, Image

RUN_GRACE = timedelta(seconds=30)
"""For so long a new delivery, or one between quick retries, is left to the run that made it."""

SUPERSEDED = "A newer result of the image takes its place."


def callback_body(image: Image, faces: Sequence[FoundFace], output_image_url: str | None) -> str:
    """The JSON that a sender gets, serialised once: the predecessor's fields, and how the image ended."""
    failure = {"code": image.failure_code, "reason": image.failure_reason} if image.failure_code else None
    body = {
        "image_id": str(image.id),
        "request_id": image.request_id,
        "faces": [face.model_dump() for face in faces],
        "output_image_url": output_image_url,
        "status": image.status.value,
        "failure": failure,
    }
    return json.dumps(body, separators=(",", ":"))


def enqueue_deliveries(session: Session, bodies: Sequence[tuple[Image, str]], now: datetime) -> None:
    """Write the deliveries of these results in the caller's transaction; they take the place of ones not yet taken."""
    enqueued = [(image, image.callback_url, body) for image, body in bodies if image.callback_url is not None]
    if not enqueued:
        return
    session.execute(
        update(Delivery)
        .where(Delivery.image_id.in_([image.id for image, _, _ in enqueued]), Delivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.FAILED, reason=SUPERSEDED, finished_at=now)
    )
    session.add_all(
        Delivery(
            image_id=image.id,
            epoch=image.claim_epoch,
            url=url,
            origin=_origin(url),
            body=body,
            due_at=now + RUN_GRACE,
        )
        for image, url, body in enqueued
    )


def _origin(url: str) -> str:
    try:
        return parse_url(url).origin
    except UrlRefused:  # the attempt will say so
        return ""
