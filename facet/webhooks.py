"""Callbacks: what a sender is told, and one attempt at telling it."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from facet.database import Database
from facet.jobs import FoundFace
from facet.models import Delivery, DeliveryState, Image

_ANSWER_KEPT = 2048


def callback_body(image: Image, faces: Sequence[FoundFace], output_image_url: str | None) -> dict[str, Any]:
    """The JSON that a sender gets: the predecessor's fields, and how the image ended."""
    failure = {"code": image.failure_code, "reason": image.failure_reason} if image.failure_code else None
    return {
        "image_id": str(image.id),
        "request_id": image.request_id,
        "faces": [face.model_dump() for face in faces],
        "output_image_url": output_image_url,
        "status": image.status.value,
        "failure": failure,
    }


class Deliveries:
    """The callbacks that are owed, and the attempts at them."""

    def __init__(self, database: Database, client: httpx.Client) -> None:
        self._database = database
        self._client = client

    def owed(self, image_ids: Sequence[UUID]) -> list[UUID]:
        """The ids of the images' deliveries that no receiver has taken yet, oldest first."""
        with self._database.read() as session:
            return list(
                session.scalars(
                    select(Delivery.id)
                    .where(Delivery.image_id.in_(image_ids), Delivery.state != DeliveryState.DELIVERED)
                    .order_by(Delivery.created_at)
                )
            )

    def attempt(self, delivery_id: UUID, *, last: bool) -> str | None:
        """Send a delivery once and record the attempt; `last` gives it up if that fails.

        Returns None when the receiver took it (or nothing was owed any more), else what went wrong.
        """
        with self._database.read() as session:
            delivery = session.get(Delivery, delivery_id)
        if delivery is None or delivery.state is DeliveryState.DELIVERED:
            return None
        record = self._post(delivery)
        trouble: str | None = record["error"]
        with self._database.write() as session:
            stored = session.get(Delivery, delivery_id, with_for_update=True)
            if stored is None:
                return None
            stored.attempts = [*stored.attempts, record]
            if trouble is None or last:
                stored.state = DeliveryState.FAILED if trouble else DeliveryState.DELIVERED
                stored.finished_at = self._database.now(session)
        return trouble

    def _post(self, delivery: Delivery) -> dict[str, Any]:
        record: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "status_code": None,
            "answer": None,
            "error": None,
        }
        begun = time.monotonic()
        try:
            with self._client.stream("POST", delivery.url, json=delivery.body) as response:
                record["status_code"] = response.status_code
                answer = next(response.iter_bytes(_ANSWER_KEPT), b"")
                record["answer"] = answer.decode("utf-8", "replace").replace("\x00", "\ufffd")
                if not response.is_success:
                    record["error"] = f"The receiver answered {response.status_code}."
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            record["error"] = f"{type(error).__name__}: {error}"
        record["seconds"] = round(time.monotonic() - begun, 3)
        return record
