"""The flow's side: take images into the queue in the order of their submission, a bounded number at a time.

Each step is one transaction that moves the cursor, marks the images and writes their rows, so that a flow run may die
at any point and the next goes on where it was. One reprocessing is worked on at a time, the one asked for first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from facet.persistence.database import Database
from facet.persistence.models import (
    Face,
    Image,
    ReprocessedImage,
    ReprocessedImageState,
    Reprocessing,
    ReprocessingState,
)
from facet.reprocessing.reprocessed_images import take
from facet.reprocessing.request import ReprocessingRequest
from facet.settings import Settings


class NotClaimed(Exception):
    """Another flow run works on the reprocessing, or it is not there."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: `open` of the `taken` images still wait or are processed; `waits_for` is the one before it."""

    state: ReprocessingState
    total: int
    taken: int
    open: int
    waits_for: UUID | None = None

    @property
    def percent(self) -> float:
        return 100.0 * (self.taken - self.open) / self.total if self.total else 100.0


class Feeder:
    """Every method raises Unavailable when the database does not answer."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        # Renewed at each step, between which the flow talks with Prefect: a slow server is no death.
        self._lease = timedelta(seconds=3 * settings.lease_seconds)
        self._batch = settings.max_bulk_batch
        # Enough that no slot is ever idle for want of images, and little enough to be over soon after a pause.
        self._window = min((settings.max_runs + 1) * self._batch, max(1, settings.max_queue // 2))

    def begin(self, reprocessing_id: UUID, flow_run_id: UUID, detector: str) -> Reprocessing:
        """Claim it for this flow run, and count its images if nobody has; one that is paused goes on.

        Raises NotClaimed.
        """
        with self._database.write() as session:
            row = session.get(Reprocessing, reprocessing_id, with_for_update=True)
            now = self._database.now(session)
            if row is None:
                raise NotClaimed(f"There is no reprocessing {reprocessing_id}.")
            if row.flow_run_id not in (None, flow_run_id) and row.lease_until and row.lease_until > now:
                raise NotClaimed(f"Flow run {row.flow_run_id} works on reprocessing {reprocessing_id}.")
            row.flow_run_id, row.lease_until = flow_run_id, now + self._lease
            row.started_at = row.started_at or now
            row.detector = row.detector or detector
            if row.state is ReprocessingState.PAUSED:
                row.state = ReprocessingState.ACTIVE
        if row.total is None:
            self._count(row)
        return row

    def _count(self, row: Reprocessing) -> None:
        request = ReprocessingRequest.model_validate(row.request)
        with self._database.read() as session:
            wanted = request.matches(row.created_at, row.detector or "")
            found = session.scalar(select(func.count()).select_from(Image).where(wanted)) or 0
        with self._database.write() as session:
            row = session.get_one(Reprocessing, row.id, with_for_update=True)
            row.total = min(found, request.at_most or found)
            if request.dry_run:
                row.state, row.finished_at = ReprocessingState.COMPLETED, self._database.now(session)

    def step(self, reprocessing_id: UUID, flow_run_id: UUID) -> Step:
        """Renew the lease, take more images if there is room, and complete it when the last has ended.

        Raises NotClaimed when the lease was lost, and nothing is done.
        """
        with self._database.read() as session:
            row = session.get_one(Reprocessing, reprocessing_id)
            waits_for = self._one_before(session, row)
            others = _open(session, ReprocessedImage.reprocessing_id != row.id)
            room = self._window - _open(session, ReprocessedImage.reprocessing_id == row.id)
            # None of the others' images may be in the queue: this one would pass over them.
            feeds = not (row.exhausted or waits_for or others) and room >= min(self._batch, self._window)
            found = self._next(session, row, room) if feeds else []
        with self._database.write() as session:
            former, row = row, session.get_one(Reprocessing, reprocessing_id, with_for_update=True)
            if row.flow_run_id != flow_run_id:
                raise NotClaimed(f"Flow run {row.flow_run_id} has taken reprocessing {reprocessing_id} over.")
            now = self._database.now(session)
            row.lease_until = now + self._lease
            if row.state is ReprocessingState.ACTIVE and feeds and row.cursor_id == former.cursor_id:
                self._take(session, row, found, now)
            open_ = _open(session, ReprocessedImage.reprocessing_id == row.id)
            if row.state is ReprocessingState.ACTIVE and row.exhausted and not open_:
                row.state, row.finished_at = ReprocessingState.COMPLETED, now
            return Step(row.state, max(row.total or 0, row.taken), row.taken, open_, waits_for)

    @staticmethod
    def _one_before(session: Session, row: Reprocessing) -> UUID | None:
        return session.scalar(
            select(Reprocessing.id)
            .where(
                Reprocessing.state == ReprocessingState.ACTIVE,
                or_(
                    Reprocessing.created_at < row.created_at,
                    and_(Reprocessing.created_at == row.created_at, Reprocessing.id < row.id),
                ),
            )
            .order_by(Reprocessing.created_at, Reprocessing.id)
            .limit(1)
        )

    @staticmethod
    def _next(session: Session, row: Reprocessing, room: int) -> Sequence[tuple[datetime, UUID]]:
        """The next images' places in the order."""
        request = ReprocessingRequest.model_validate(row.request)
        query = select(Image.created_at, Image.id).where(request.matches(row.created_at, row.detector or ""))
        if row.cursor_at:
            after = and_(Image.created_at == row.cursor_at, Image.id > row.cursor_id)
            query = query.where(or_(Image.created_at > row.cursor_at, after))
        if request.at_most is not None:
            room = min(room, request.at_most - row.taken)
        return session.execute(query.order_by(Image.created_at, Image.id).limit(room)).all()

    def _take(self, session: Session, row: Reprocessing, found: Sequence[tuple[datetime, UUID]], now: datetime) -> None:
        request = ReprocessingRequest.model_validate(row.request)
        ids = [image_id for _, image_id in found]
        images = session.scalars(
            select(Image)
            .where(Image.id.in_(ids), request.matches(row.created_at, row.detector or ""))
            .order_by(Image.id)  # one order of locking for all
            .with_for_update()
        ).all()
        faces = dict(
            session.execute(
                select(Face.image_id, func.count())
                .join(Image, and_(Image.id == Face.image_id, Image.result_epoch == Face.epoch))
                .where(Image.id.in_(ids))
                .group_by(Face.image_id)
            ).all()
        )
        session.add_all(take(image, row, faces.get(image.id, 0), now) for image in images)
        row.taken += len(images)
        if found:
            row.cursor_at, row.cursor_id = found[-1]
        row.exhausted = not found or row.taken == request.at_most
        session.flush()


def _open(session: Session, of: object) -> int:
    """Images that are taken and not ended; one that is being removed is nobody's any more."""
    return (
        session.scalar(
            select(func.count())
            .select_from(ReprocessedImage)
            .join(Image, Image.id == ReprocessedImage.image_id)
            .where(ReprocessedImage.state == ReprocessedImageState.OPEN, of, Image.deleted_at.is_(None))  # type: ignore[arg-type]
        )
        or 0
    )
