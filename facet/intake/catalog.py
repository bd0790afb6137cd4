"""The images that were submitted: accept, find, list and remove them."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.orm import Session, selectinload

from facet.annotations import Annotation
from facet.errors import ObjectNotFound, Overloaded
from facet.persistence.cursors import Cursor
from facet.persistence.database import Database
from facet.persistence.models import Delivery, DeliveryState, Image, ImageStatus, Run, RunState
from facet.pictures.decoder import Decoder
from facet.principals import EVERYONE, Principal
from facet.settings import Settings
from facet.storage import ObjectStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submission:
    """What a sender asks for: a file, or one to be fetched from a URL."""

    data: bytes | None
    image_url: str | None
    request_id: str
    filename: str | None
    callback_url: str | None
    min_confidence: float
    min_face_size: int
    annotation: Annotation
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    images: Sequence[Image]
    next_cursor: str | None


class Catalog:
    """Images in the database with their objects. Every method raises Unavailable when a part does not answer."""

    def __init__(self, database: Database, store: ObjectStore, decoder: Decoder, settings: Settings) -> None:
        self._database = database
        self._store = store
        self._decoder = decoder
        self._settings = settings

    def check_room(self) -> None:
        """Raises Overloaded while no more submissions should be taken."""
        waiting = select(Image.id).where(Image.status == ImageStatus.QUEUED).limit(self._settings.max_queue)
        with self._database.read() as session:
            if (session.scalar(select(func.count()).select_from(waiting.subquery())) or 0) >= self._settings.max_queue:
                raise Overloaded("The queue is full.")
        if self._settings.store == "folder":
            home = self._settings.home
            if home.exists() and shutil.disk_usage(home).free < self._settings.min_free_bytes:
                raise Overloaded("The disk is full.")

    def store(self, submission: Submission) -> Image:
        """Store the submitted file, if it is one, for a row that `commit` is still to make.

        Raises ImageError, with nothing stored, for what is no picture that can be processed.
        """
        image = Image(
            id=uuid4(),
            owner=submission.owner,
            request_id=submission.request_id,
            filename=submission.filename,
            image_url=submission.image_url,
            callback_url=submission.callback_url,
            min_confidence=submission.min_confidence,
            min_face_size=submission.min_face_size,
            annotation=submission.annotation,
        )
        if submission.data is not None:
            header = self._decoder.check(submission.data)
            image.media_type, image.width, image.height = header.media_type, header.width, header.height
            image.size_bytes = len(submission.data)
            image.sha256 = hashlib.sha256(submission.data).hexdigest()
            self._store.put(image.original_key, submission.data, header.media_type)
        return image

    def commit(self, images: Sequence[Image], also: Callable[[Session], None] | None = None) -> None:
        """Commit the rows of images whose files are stored: from then on they are never lost.

        `also` is done in the same transaction; when it raises, there are no images.
        """
        try:
            with self._database.write() as session:
                session.add_all(images)
                session.flush()
                if also:
                    also(session)
        except Exception:  # perhaps only the answer to the commit was lost, so the objects stay
            log.warning("Objects may be left without a row: %s", ", ".join(image.prefix for image in images))
            raise
        for image in images:
            log.info("Image %s of request %s is accepted.", image.id, image.request_id)

    def find(self, image_id: UUID, who: Principal) -> Image | None:
        """The image with its faces, run and deliveries; None for one that is not there, or not theirs to see."""
        with self._database.read() as session:
            return session.scalars(
                select(Image)
                .where(Image.id == image_id, Image.deleted_at.is_(None), who.sees(Image.owner))
                .options(selectinload(Image.faces), selectinload(Image.run), selectinload(Image.deliveries))
            ).one_or_none()

    def page(
        self,
        who: Principal,
        *,
        status: ImageStatus | None,
        request_id: str | None,
        image_ids: Sequence[UUID] = (),
        cursor: str | None,
        limit: int,
    ) -> Page:
        """The images that they may see, newest first. Raises BadCursor."""
        query = (
            select(Image)
            .where(Image.deleted_at.is_(None), who.sees(Image.owner))
            .options(selectinload(Image.faces), selectinload(Image.run), selectinload(Image.deliveries))
            .order_by(Image.created_at.desc(), Image.id.desc())
            .limit(limit + 1)
        )
        if status:
            query = query.where(Image.status == status)
        if request_id:
            query = query.where(Image.request_id == request_id)
        if image_ids:
            query = query.where(Image.id.in_(image_ids))
        if cursor:
            query = query.where(Cursor.read(cursor).is_before(Image.created_at, Image.id))
        with self._database.read() as session:
            images = session.scalars(query).all()
        last = images[limit - 1] if len(images) > limit else None
        return Page(images[:limit], str(Cursor(last.created_at, last.id)) if last else None)

    def original(self, image: Image) -> bytes:
        """Raises ObjectNotFound."""
        return self._store.get(image.original_key)

    def annotated(self, image: Image) -> bytes | None:
        """The annotated picture of the present result, or None where there is none."""
        if image.annotated_key is None:
            return None
        try:
            return self._store.get(image.annotated_key)
        except ObjectNotFound:  # replaced by a newer result since the row was read
            newer = self.find(image.id, EVERYONE)
            if newer is None or newer.annotated_key in (None, image.annotated_key):
                raise
            return self._store.get(newer.annotated_key or "")

    def forget_annotated(self, image: Image) -> None:
        """Promise no annotated picture for this result any more: it is lost, and what it was drawn on too."""
        with self._database.write() as session:
            session.execute(
                update(Image)
                .where(Image.id == image.id, Image.annotated_key == image.annotated_key)
                .values(annotated_key=None)
            )

    def remove(self, image_id: UUID, who: Principal) -> bool:
        """Remove an image with its faces and objects; a run that works on it loses its claim.

        Returns whether it was there, and theirs to remove.
        """
        with self._database.write() as session:
            image = session.scalars(
                select(Image)
                .where(Image.id == image_id, Image.deleted_at.is_(None), who.sees(Image.owner))
                .with_for_update()
            ).one_or_none()
            if image is None:
                return False
            image.deleted_at = self._database.now(session)  # a tombstone, until its objects are gone too
            image.claim_epoch += 1
        self.purge(image)
        return True

    def purge(self, image: Image) -> None:
        """Remove the objects and then the row of an image that is marked as deleted; repeating it is safe."""
        for key in list(self._store.keys(image.prefix)):
            self._store.delete(key)
        with self._database.write() as session:
            session.execute(delete(Image).where(Image.id == image.id))

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by status, flow runs by state, and deliveries by state."""
        with self._database.read() as session:
            return {
                "images": _count(
                    ImageStatus,
                    session.execute(
                        select(Image.status, func.count()).where(Image.deleted_at.is_(None)).group_by(Image.status)
                    ).all(),
                ),
                "runs": _count(
                    set(RunState) - {RunState.OVER},
                    session.execute(
                        select(Run.state, func.count()).where(Run.state != RunState.OVER).group_by(Run.state)
                    ).all(),
                ),
                "deliveries": _count(
                    DeliveryState,
                    session.execute(select(Delivery.state, func.count()).group_by(Delivery.state)).all(),
                ),
            }

    def oldest_waiting_seconds(self) -> float:
        """How long the image that waits longest has waited, 0 when none does."""
        with self._database.read() as session:
            oldest = session.scalar(
                select(func.min(Image.available_at)).where(
                    Image.status == ImageStatus.QUEUED, Image.deleted_at.is_(None)
                )
            )
            return max(0.0, (self._database.now(session) - oldest).total_seconds()) if oldest else 0.0


def _count(states: Iterable[StrEnum], rows: Sequence[Row[Any, int]]) -> dict[str, int]:
    return {str(state): 0 for state in states} | {str(state): count for state, count in rows}
