"""What must be true when all is quiet again."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import selectinload

from facet.errors import Unavailable
from facet.maintenance.objects import ObjectAudit
from facet.persistence.models import Delivery, DeliveryState, Face, Image, ImageStatus, Run, RunState
from facet.services import Services
from facet.settings import Settings
from tests.faults.deployment import Deployment
from tests.faults.load import Submission

QUIET_SECONDS = 240
_SOON = timedelta(seconds=8)
_UNFINISHED = (ImageStatus.QUEUED, ImageStatus.PROCESSING)

Faces = list[dict[str, Any]]


@dataclass
class Outcome:
    """Of the images of one fault. `lost`: without a true end, its callback or its object. `doubled`: more than one of
    anything. `wrong`: other faces than calm, or an answer that no client should get. `orphans`: objects and rows that
    nothing refers to. `again`: images that were sent, claimed or called back more than once: the fault has bitten."""

    accepted: int = 0
    completed: int = 0
    failed: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    orphans: int = 0
    refused: int = 0
    again: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def await_quiet(target: Deployment, seconds: float = QUIET_SECONDS) -> float:
    """Wait until nothing is queued, in flight or owed, or the time is over; returns the seconds that it took.

    Callbacks whose next attempt is minutes or hours off by the schedule are brought forward.
    """
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            if not _is_underway(target):
                break
            _bring_callbacks_forward(target)
        except Unavailable:
            pass
        time.sleep(0.5)
    return time.monotonic() - begun


def _is_underway(target: Deployment) -> bool:
    queries = [
        select(func.count()).select_from(Image).where(Image.status.in_(_UNFINISHED)),
        select(func.count()).select_from(Run).where(Run.state != RunState.OVER),
        select(func.count()).select_from(Delivery).where(Delivery.state == DeliveryState.PENDING),
    ]
    with target.database.read() as session:
        return any(session.scalar(query) for query in queries)


def _bring_callbacks_forward(target: Deployment) -> None:
    with target.database.read() as session:
        soon = target.database.now(session) + _SOON
        later = (
            Delivery.state == DeliveryState.PENDING,
            Delivery.due_at > soon,
            Delivery.lease_until.is_(None),
            Delivery.failures > 1,  # the first wait is seconds, and a new delivery is left to its run
        )
        waits = session.scalar(select(func.count()).select_from(Delivery).where(*later))
    if waits:
        with target.database.write() as session:
            session.execute(update(Delivery).where(*later).values(due_at=soon - _SOON))


def verify(
    target: Deployment, submissions: Sequence[Submission], calm: Mapping[int, Faces], reasons: frozenset[str]
) -> Outcome:
    """Check every submission against the database, the store, the receiver and the calm run."""
    outcome = Outcome()
    rows, faces = _rows(target, submissions)
    copies = _copies(target)
    objects = set(target.store.keys("images/"))
    for submission in submissions:
        images = rows[submission.request_id]
        if submission.odd:
            outcome.wrong += 1
            outcome.notes.append(f"{submission.request_id} was answered {submission.odd}")
        if len(images) > 1:
            outcome.doubled += 1
            outcome.notes.append(f"{submission.request_id} became {len(images)} images")
        if submission.image_id is None:
            outcome.refused += 1
            continue
        outcome.accepted += 1
        image = next((image for image in images if str(image.id) == submission.image_id), None)
        if image is None:
            outcome.lost += 1
            outcome.notes.append(f"{submission.request_id} has no row")
            continue
        _end_of(image, outcome, reasons)
        _result_of(image, faces[image.id], calm[submission.photo], objects, outcome)
        _callbacks_of(image, copies[submission.request_id], calm[submission.photo], outcome)
        outcome.again += (
            image.claim_epoch > 1 or any(d.last_attempt > 1 for d in image.deliveries) or submission.tries > 1
        )
    return outcome


def _end_of(image: Image, outcome: Outcome, reasons: frozenset[str]) -> None:
    if image.status is ImageStatus.COMPLETED:
        outcome.completed += 1
        if image.attempts and not reasons:
            outcome.wrong += 1
            outcome.notes.append(f"{image.request_id} was charged an attempt for what was no fault of its")
    elif image.status is ImageStatus.FAILED and image.failure_code in reasons and image.failure_reason:
        outcome.failed += 1
    else:
        outcome.lost += 1
        outcome.notes.append(f"{image.request_id} is {image.status}: {image.failure_code} {image.failure_reason}")


def _result_of(image: Image, stored: Sequence[Face], calm: Faces, objects: set[str], outcome: Outcome) -> None:
    read = [face for face in stored if face.epoch == image.result_epoch]
    if image.status is ImageStatus.COMPLETED and _told(read) != calm:
        outcome.wrong += 1
        outcome.notes.append(f"{image.request_id} has other faces than calm: {_told(read)}")
    if len(stored) > len(read):
        outcome.orphans += len(stored) - len(read)
        outcome.notes.append(f"{image.request_id} has faces of a former claim")
    missing = {key for key in (image.original_key, image.annotated_key) if key} - objects
    if missing:
        outcome.lost += 1
        outcome.notes.append(f"{image.request_id} lacks {missing}")


def _callbacks_of(image: Image, copies: list[tuple[str, str]], calm: Faces, outcome: Outcome) -> None:
    if not copies:
        outcome.lost += 1
        outcome.notes.append(f"{image.request_id} was never called back ({[d.state for d in image.deliveries]})")
        return
    if len(set(copies)) > 1 or len(image.deliveries) != 1:
        outcome.doubled += 1
        outcome.notes.append(f"{image.request_id} was called back with {len(set(copies))} ids or bodies")
    body = copies[-1][1]
    told = json.loads(body)
    wanted = calm if image.status is ImageStatus.COMPLETED else []
    if told["image_id"] != str(image.id) or told["status"] != image.status.value or told["faces"] != wanted:
        outcome.wrong += 1
        outcome.notes.append(f"{image.request_id} was told something else: {body[:300]}")


def orphaned_objects(target: Deployment) -> set[str]:
    """Keys of the store to which no row refers, and files that a dead process has left half written."""
    with target.database.read() as session:
        images = session.scalars(select(Image)).all()
    known = {key for image in images for key in (image.original_key, image.annotated_key)}
    orphans = set(target.store.keys("images/")) - known
    folder = target.stack.home / "objects"
    return orphans | {str(path.relative_to(folder)) for path in folder.rglob(".*") if path.is_file()}


def mend(target: Deployment) -> None:
    """What the flow `maintain` does for rows and objects, without the hour that it leaves to what is young."""
    services = Services(Settings())
    services.database, services.store = target.database, target.store
    parts = (services.database, services.store, services.catalog, services.claims, services.settings)
    ObjectAudit(*parts, grace=-_SOON).run()


def calm_faces(target: Deployment, submissions: Sequence[Submission]) -> dict[int, Faces]:
    """The faces of each photo, as a run without any fault has stored them."""
    rows, faces = _rows(target, submissions)
    calm = {}
    for submission in submissions:
        [image] = rows[submission.request_id]
        assert image.status is ImageStatus.COMPLETED, image.failure_reason
        calm[submission.photo] = _told(faces[image.id])
    return calm


def _told(faces: Sequence[Face]) -> Faces:
    return [{"confidence": face.confidence, "box": face.box, "keypoints": face.keypoints} for face in faces]


def _rows(
    target: Deployment, submissions: Sequence[Submission]
) -> tuple[dict[str, list[Image]], dict[UUID, list[Face]]]:
    request_ids = [submission.request_id for submission in submissions]
    rows: dict[str, list[Image]] = defaultdict(list)
    faces: dict[UUID, list[Face]] = defaultdict(list)
    with target.database.read() as session:
        wanted = select(Image).where(Image.request_id.in_(request_ids)).options(selectinload(Image.deliveries))
        for image in session.scalars(wanted):
            rows[image.request_id].append(image)
        stored = select(Face).join(Image, Image.id == Face.image_id).where(Image.request_id.in_(request_ids))
        for face in session.scalars(stored.order_by(Face.epoch, Face.position)):
            faces[face.image_id].append(face)
    return rows, faces


def _copies(target: Deployment) -> dict[str, list[tuple[str, str]]]:
    """What the receiver got for each request: webhook id and body of every copy."""
    copies: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for headers, body in list(target.received.requests):
        copies[json.loads(body)["request_id"]].append((headers["webhook-id"], body.decode()))
    return copies
