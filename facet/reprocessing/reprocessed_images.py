"""What a reprocessing keeps of an image while it is detected in again, and what claims note when that ends.

The former result stays the one that is read until the new one is complete. Where there is no new one, the image is
again what it was, and only the row of the reprocessed image tells of the failure.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from facet.jobs import Failure
from facet.persistence.models import (
    Delivery,
    DeliveryState,
    Image,
    ImageStatus,
    Lane,
    ReprocessedImage,
    ReprocessedImageState,
    Reprocessing,
)
from facet.reprocessing.request import ReprocessingRequest


def take(image: Image, reprocessing: Reprocessing, faces: int, now: datetime) -> ReprocessedImage:
    """Put a finished image in the queue again, with the request's parameters; returns its row there, to be added."""
    request = ReprocessingRequest.model_validate(reprocessing.request)
    reprocessed = ReprocessedImage(
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
    image.attempts, image.outages, image.isolated = 0, 0, False
    image.failure_code = image.failure_reason = None
    if request.min_confidence is not None:
        image.min_confidence = request.min_confidence
    if request.min_face_size is not None:
        image.min_face_size = request.min_face_size
    return reprocessed


def load(session: Session, images: Iterable[Image]) -> list[ReprocessedImage]:
    """Read the rows of these images at once, for `complete` to find; they are kept as long as the list is."""
    keys = [(image.reprocessing_id, image.id) for image in images if image.reprocessing_id]
    if not keys:
        return []
    return list(
        session.scalars(
            select(ReprocessedImage).where(
                tuple_(ReprocessedImage.reprocessing_id, ReprocessedImage.image_id).in_(keys)
            )
        )
    )


def complete(session: Session, image: Image, faces: int, now: datetime) -> bool:
    """Note the new result of an image. Returns whether its sender is to be called back."""
    if (reprocessed := _end(session, image, ReprocessedImageState.COMPLETED, now)) is None:
        return True
    reprocessed.faces_after = faces
    image.lane = Lane(reprocessed.former["lane"])
    return _calls_back(session, image, reprocessed)


def fail(session: Session, image: Image, status: ImageStatus, failure: Failure, now: datetime) -> bool:
    """Note that there is no new result; the image is again what it was, if it had one or the end is a cancellation.

    Returns whether the image has failed (or is cancelled) in its own right, and its sender is to be called back.
    """
    state = ReprocessedImageState.CANCELLED if status is ImageStatus.CANCELLED else ReprocessedImageState.FAILED
    if (reprocessed := _end(session, image, state, now)) is None:
        return True
    reprocessed.failure_code, reprocessed.failure_reason = failure.code, failure.reason
    if state is ReprocessedImageState.CANCELLED or reprocessed.former["status"] == ImageStatus.COMPLETED:
        restore(image, reprocessed.former)
        return False
    image.lane = Lane(reprocessed.former["lane"])
    return _calls_back(session, image, reprocessed)


def restore(image: Image, former: dict[str, Any]) -> None:
    """Make the image what it was when its reprocessing took it."""
    image.status, image.lane = ImageStatus(former["status"]), Lane(former["lane"])
    image.finished_at = datetime.fromisoformat(former["finished_at"]) if former["finished_at"] else None
    image.failure_code, image.failure_reason = former["failure_code"], former["failure_reason"]
    image.min_confidence, image.min_face_size = former["min_confidence"], former["min_face_size"]
    image.reprocessing_id = None


def _end(session: Session, image: Image, state: ReprocessedImageState, now: datetime) -> ReprocessedImage | None:
    if image.reprocessing_id is None:
        return None
    reprocessed = session.get(ReprocessedImage, (image.reprocessing_id, image.id))
    image.reprocessing_id = None
    if reprocessed:
        reprocessed.state, reprocessed.finished_at = state, now
    return reprocessed


def _calls_back(session: Session, image: Image, reprocessed: ReprocessedImage) -> bool:
    reprocessing = session.get_one(Reprocessing, reprocessed.reprocessing_id)  # read once a transaction
    if ReprocessingRequest.model_validate(reprocessing.request).call_back:
        return True
    waits = select(Delivery.id).where(Delivery.image_id == image.id, Delivery.state == DeliveryState.PENDING)
    return session.scalar(waits.limit(1)) is not None
