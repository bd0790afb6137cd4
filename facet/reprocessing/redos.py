"""What a reprocessing keeps of an image while it is detected in again, and what claims note when that ends.

The former result stays the one that is read until the new one is complete. Where there is no new one, the image is
again what it was, and the redo alone tells of the failure.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from facet.jobs import Failure
from facet.persistence.models import Delivery, DeliveryState, Image, ImageStatus, Lane, Redo, RedoState, Reprocessing
from facet.reprocessing.request import ReprocessingRequest


def take(image: Image, reprocessing: Reprocessing, faces: int, now: datetime) -> Redo:
    """Put a finished image in the queue again, with the request's parameters; returns its redo, to be added."""
    request = ReprocessingRequest.model_validate(reprocessing.request)
    redo = Redo(
        reprocessing_id=reprocessing.id,
        image_id=image.id,
        faces_before=None if image.result_epoch is None else faces,
        former={
            "status": image.status.value,
            "lane": image.lane.value,
            "finished_at": image.finished_at.isoformat() if image.finished_at else None,
            "failure_code": image.failure_code,
            "failure_reason": image.failure_reason,
            "min_confidence": image.min_confidence,
            "min_face_size": image.min_face_size,
        },
    )
    image.requeue()
    image.reprocessing_id, image.lane, image.available_at = reprocessing.id, Lane.BULK, now
    image.attempts, image.outages, image.alone = 0, 0, False
    image.failure_code = image.failure_reason = None
    if request.min_confidence is not None:
        image.min_confidence = request.min_confidence
    if request.min_face_size is not None:
        image.min_face_size = request.min_face_size
    return redo


def load(session: Session, images: Iterable[Image]) -> list[Redo]:
    """Read the redos of these images at once, for `complete` to find; they are kept as long as the list is."""
    redone = [(image.reprocessing_id, image.id) for image in images if image.reprocessing_id]
    if not redone:
        return []
    return list(session.scalars(select(Redo).where(tuple_(Redo.reprocessing_id, Redo.image_id).in_(redone))))


def complete(session: Session, image: Image, faces: int, now: datetime) -> bool:
    """Note the new result of an image. Returns whether its sender is to be called back."""
    if (redo := _end(session, image, RedoState.COMPLETED, now)) is None:
        return True
    redo.faces_after = faces
    image.lane = Lane(redo.former["lane"])
    return _calls_back(session, image, redo)


def fail(session: Session, image: Image, status: ImageStatus, failure: Failure, now: datetime) -> bool:
    """Note that there is no new result; the image is again what it was, if it had one or the redo was cancelled.

    Returns whether the image has failed (or is cancelled) in its own right, and its sender is to be called back.
    """
    state = RedoState.CANCELLED if status is ImageStatus.CANCELLED else RedoState.FAILED
    if (redo := _end(session, image, state, now)) is None:
        return True
    redo.failure_code, redo.failure_reason = failure.code, failure.reason
    if state is RedoState.CANCELLED or redo.former["status"] == ImageStatus.COMPLETED:
        restore(image, redo.former)
        return False
    image.lane = Lane(redo.former["lane"])
    return _calls_back(session, image, redo)


def restore(image: Image, former: dict[str, Any]) -> None:
    """Make the image what it was when its reprocessing took it."""
    image.status, image.lane = ImageStatus(former["status"]), Lane(former["lane"])
    image.finished_at = datetime.fromisoformat(former["finished_at"]) if former["finished_at"] else None
    image.failure_code, image.failure_reason = former["failure_code"], former["failure_reason"]
    image.min_confidence, image.min_face_size = former["min_confidence"], former["min_face_size"]
    image.reprocessing_id = None


def _end(session: Session, image: Image, state: RedoState, now: datetime) -> Redo | None:
    if image.reprocessing_id is None:
        return None
    redo = session.get(Redo, (image.reprocessing_id, image.id))
    image.reprocessing_id = None
    if redo:
        redo.state, redo.finished_at = state, now
    return redo


def _calls_back(session: Session, image: Image, redo: Redo) -> bool:
    reprocessing = session.get_one(Reprocessing, redo.reprocessing_id)  # read once a transaction
    if ReprocessingRequest.model_validate(reprocessing.request).call_back:
        return True
    waits = select(Delivery.id).where(Delivery.image_id == image.id, Delivery.state == DeliveryState.PENDING)
    return session.scalar(waits.limit(1)) is not None
