"""The operator's side: ask for a reprocessing, see how far it is, pause, resume and cancel it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from facet.persistence.cursors import Cursor
from facet.persistence.database import Database
from facet.persistence.models import (
    Image,
    ImageStatus,
    ReprocessedImage,
    ReprocessedImageState,
    Reprocessing,
    ReprocessingState,
)
from facet.reprocessing.reprocessed_images import restore
from facet.reprocessing.request import ReprocessingRequest


class ReprocessingOver(Exception):
    """The reprocessing is completed or cancelled: nothing of it can be changed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Images by what became of them; `total` is None until it is counted; what is `open` waits or is in progress."""

    total: int | None
    taken: int
    open: int
    completed: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True)
class ReprocessingPage:
    reprocessings: Sequence[Reprocessing]
    next_cursor: str | None


class Reprocessings:
    """Every method raises Unavailable when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, request: ReprocessingRequest, reprocessing_id: UUID | None = None) -> Reprocessing:
        """Ask for it. One of this id that is there already is returned as it is."""
        with self._database.write() as session:
            if reprocessing_id and (known := session.get(Reprocessing, reprocessing_id)):
                return known
            reprocessing = Reprocessing(
                id=reprocessing_id or uuid4(),
                request=request.model_dump(mode="json"),
                created_at=self._database.now(session),
            )
            session.add(reprocessing)
            return reprocessing

    def find(self, reprocessing_id: UUID) -> Reprocessing | None:
        with self._database.read() as session:
            return session.get(Reprocessing, reprocessing_id)

    def page(self, *, state: ReprocessingState | None, cursor: str | None, limit: int) -> ReprocessingPage:
        """Reprocessings, newest first. Raises BadCursor."""
        query = select(Reprocessing).order_by(Reprocessing.created_at.desc(), Reprocessing.id.desc()).limit(limit + 1)
        if state:
            query = query.where(Reprocessing.state == state)
        if cursor:
            query = query.where(Cursor.read(cursor).is_before(Reprocessing.created_at, Reprocessing.id))
        with self._database.read() as session:
            found = session.scalars(query).all()
        last = found[limit - 1] if len(found) > limit else None
        return ReprocessingPage(found[:limit], str(Cursor(last.created_at, last.id)) if last else None)

    def progress(self, reprocessing: Reprocessing) -> Progress:
        with self._database.read() as session:
            counts = dict(
                session.execute(
                    select(ReprocessedImage.state, func.count())
                    .where(ReprocessedImage.reprocessing_id == reprocessing.id)
                    .group_by(ReprocessedImage.state)
                ).all()
            )
        return Progress(
            total=reprocessing.total,
            taken=reprocessing.taken,
            open=counts.get(ReprocessedImageState.OPEN, 0),
            completed=counts.get(ReprocessedImageState.COMPLETED, 0),
            failed=counts.get(ReprocessedImageState.FAILED, 0),
            cancelled=counts.get(ReprocessedImageState.CANCELLED, 0),
        )

    def pause(self, reprocessing_id: UUID) -> Reprocessing | None:
        """Take no more images; those taken are still processed. Raises ReprocessingOver."""
        with self._database.write() as session:
            reprocessing = _unfinished(session, reprocessing_id)
            if reprocessing:
                reprocessing.state = ReprocessingState.PAUSED
            return reprocessing

    def resume(self, reprocessing_id: UUID) -> Reprocessing | None:
        """Go on where it was, in a new flow run. Raises ReprocessingOver."""
        with self._database.write() as session:
            reprocessing = _unfinished(session, reprocessing_id)
            if reprocessing and reprocessing.state is ReprocessingState.PAUSED:
                reprocessing.state = ReprocessingState.ACTIVE
                reprocessing.flow_run_id = reprocessing.lease_until = None
                reprocessing.runs += 1
                reprocessing.run_due_at = self._database.now(session)
            return reprocessing

    def cancel(self, reprocessing_id: UUID) -> Reprocessing | None:
        """Take no more images; those that still wait are again what they were. Raises ReprocessingOver."""
        with self._database.write() as session:
            reprocessing = _unfinished(session, reprocessing_id)
            if reprocessing is None:
                return None
            now = self._database.now(session)
            reprocessing.state, reprocessing.finished_at = ReprocessingState.CANCELLED, now
            waiting = session.scalars(
                select(Image)
                .where(
                    Image.id.in_(
                        select(ReprocessedImage.image_id).where(
                            ReprocessedImage.reprocessing_id == reprocessing_id,
                            ReprocessedImage.state == ReprocessedImageState.OPEN,
                        )
                    ),
                    Image.status == ImageStatus.QUEUED,
                    Image.run_id.is_(None),
                    Image.deleted_at.is_(None),
                )
                .order_by(Image.id)
                .with_for_update()
            ).all()
            for image in waiting:
                reprocessed = session.get_one(ReprocessedImage, (reprocessing_id, image.id))
                reprocessed.state, reprocessed.finished_at = ReprocessedImageState.CANCELLED, now
                restore(image, reprocessed.former)
            return reprocessing


def _unfinished(session: Session, reprocessing_id: UUID) -> Reprocessing | None:
    reprocessing = session.get(Reprocessing, reprocessing_id, with_for_update=True)
    if reprocessing and reprocessing.state in (ReprocessingState.COMPLETED, ReprocessingState.CANCELLED):
        raise ReprocessingOver(f"The reprocessing is {reprocessing.state}.")
    return reprocessing
