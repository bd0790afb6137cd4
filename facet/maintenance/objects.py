"""Objects without rows, and rows without objects.

Rows and objects are read side by side in the order of the images' ids, a page at a time, so that memory is flat however
many there are. What does not fit is only noted then; it is looked at anew before anything is done about it.
"""

import heapq
import logging
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Row, select

from facet.errors import ImageError, NotPermitted, ObjectNotFound
from facet.intake.catalog import Catalog
from facet.jobs import OBJECT_MISSING, FoundFace
from facet.maintenance.findings import Finding
from facet.persistence.database import Database
from facet.persistence.models import Image, ImageStatus
from facet.pictures.codec import decode
from facet.pictures.drawing import annotated
from facet.principals import EVERYONE
from facet.settings import Settings
from facet.storage import ObjectStore, StoredObject
from facet.work.claims import Claims

log = logging.getLogger(__name__)
T = TypeVar("T")

GRACE = timedelta(hours=1)
"""A younger object is left alone: it is stored before its row, or its row's new result, is committed."""

_PAGE = 1000
_MOST = 1000  # of a kind in one pass; the next pass goes on
_SUSPICIOUS = 100
_UNFINISHED = (ImageStatus.QUEUED, ImageStatus.PROCESSING)

_COLUMNS = (
    Image.id,
    Image.status,
    Image.deleted_at,
    Image.claim_epoch,
    Image.annotated_key,
    Image.failure_code,
    Image.image_url,
    Image.fetched_epoch,
)
_ImageRow = Row[UUID, ImageStatus, datetime | None, int, str | None, str | None, str | None, int | None]
_OURS = re.compile(r"images/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/(?:original(?:-\d+)?|annotated-\d+\.jpg|\..+)")


def _original(row: _ImageRow) -> str | None:
    """The key of its original; None for one that is still to be fetched."""
    if row.fetched_epoch:
        return f"images/{row.id}/original-{row.fetched_epoch}"
    return None if row.image_url else f"images/{row.id}/original"


def _belongs(key: str, row: _ImageRow | None) -> bool:
    """Whether the object is the image's: its original, the picture of its result, or that of the claim at work."""
    if row is None:
        return False
    prefix = f"images/{row.id}/"
    if key in (_original(row), row.annotated_key) or row.deleted_at:
        return True
    at_work = (f"{prefix}annotated-{row.claim_epoch}.jpg", f"{prefix}original-{row.claim_epoch}")
    return row.status is ImageStatus.PROCESSING and key in at_work


class ObjectAudit:
    """One audit is `run`. It raises Unavailable when the database or the store does not answer."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        catalog: Catalog,
        claims: Claims,
        settings: Settings,
        *,
        grace: timedelta = GRACE,
    ) -> None:
        self._database = database
        self._store = store
        self._catalog = catalog
        self._claims = claims
        self._max_pixels = settings.max_image_pixels
        self._grace = grace
        self._cut_short = Finding("Deletions that were cut short", "finished")
        self._stray = Finding("Objects without a row, or of a result that another has replaced", "removed")
        self._foreign = Finding("Objects that are not Facet's", "left alone")
        self._waiting = Finding(
            "Unfinished images whose original is gone", "failed here or by their run, and called back"
        )
        self._bare = Finding("Ended images whose original is gone", "none: their result stays readable")
        self._uploads = Finding("Uploads in parts that were cut short", "removed")
        self._undrawn = Finding("Annotated pictures that are gone", "drawn anew, or no longer promised")

    def run(self) -> list[Finding]:
        cut_short: list[UUID] = []
        stray: list[str] = []
        missing: list[UUID] = []
        images = astray = bare = 0
        with self._database.read() as session:
            old = self._database.now(session) - self._grace
        for row, objects in self._side_by_side():
            keys = {found.key for found in objects}
            images += row is not None
            lost = [found.key for found in objects if found.modified < old and not _belongs(found.key, row)]
            astray += bool(lost) and row is None
            for key in lost:
                if _OURS.fullmatch(key):
                    self._stray.note(key)
                    _keep(stray, key)
                else:
                    self._foreign.note(key)
            if row is None:
                continue
            if row.deleted_at:
                if row.deleted_at < old:
                    self._cut_short.note(row.id)
                    _keep(cut_short, row.id)
                continue
            if (original := _original(row)) and original not in keys:
                bare += 1
                if row.status in _UNFINISHED:
                    _keep(missing, row.id)
                elif row.failure_code != OBJECT_MISSING.code:
                    self._bare.note(row.id)
            if row.annotated_key and row.annotated_key not in keys:
                _keep(missing, row.id)
        self._finish(cut_short)
        self._clear(stray, suspicious=astray > max(_SUSPICIOUS, images))
        self._replace(missing, suspicious=bare > max(_SUSPICIOUS, images / 2))
        self._abort_uploads(old)
        return [
            self._cut_short,
            self._stray,
            self._uploads,
            self._foreign,
            self._waiting,
            self._bare,
            self._undrawn,
        ]

    # ---- side by side

    def _side_by_side(self) -> Iterator[tuple[_ImageRow | None, list[StoredObject]]]:
        """Each image's row, if it has one, with its objects."""
        rows = ((f"images/{row.id}/", row) for row in self._rows())
        objects = ((found.key[: found.key.find("/", 7) + 1] or found.key, found) for found in self._objects())
        both: Iterator[tuple[str, _ImageRow | StoredObject]] = heapq.merge(rows, objects, key=itemgetter(0))
        for _, group in groupby(both, key=itemgetter(0)):
            row, found = None, []
            for _, item in group:
                if isinstance(item, StoredObject):
                    found.append(item)
                else:
                    row = item
            yield row, found

    def _objects(self) -> Iterator[StoredObject]:
        return self._store.objects("images/")

    def _rows(self) -> Iterator[_ImageRow]:
        page = select(*_COLUMNS).order_by(Image.id).limit(_PAGE)
        rows: Sequence[_ImageRow] = self._page(page)
        while rows:
            yield from rows
            rows = self._page(page.where(Image.id > rows[-1].id))

    def _page(self, query: object) -> Sequence[_ImageRow]:
        with self._database.read() as session:
            return session.execute(query).all()  # type: ignore[call-overload, no-any-return]

    def _row(self, image_id: UUID) -> _ImageRow | None:
        with self._database.read() as session:
            return session.execute(select(*_COLUMNS).where(Image.id == image_id)).one_or_none()

    # ---- mending

    def _finish(self, image_ids: Sequence[UUID]) -> None:
        for image_id in image_ids:
            with self._database.read() as session:
                image = session.get(Image, image_id)
            if image:
                self._catalog.purge(image)
            self._cut_short.mended += 1

    def _clear(self, keys: Sequence[str], *, suspicious: bool) -> None:
        if suspicious:
            self._stray.alarm = "More images have objects and no row than have a row. Is this the right database?"
            return
        for key in keys:
            if not _belongs(key, self._row(UUID(key.split("/")[1]))):
                self._store.delete(key)
                log.warning("The object %s had no row, and is removed.", key)
            self._stray.mended += 1

    def _abort_uploads(self, before: datetime) -> None:
        """Remove what is no object and cannot become one: whosever it was, its upload ended long ago."""
        try:
            for key in self._store.abort_uploads("images/", before):
                self._uploads.note(key)
                self._uploads.mended += 1
        except NotPermitted as error:
            self._uploads.remedy = f"not looked for: {error}"

    def _replace(self, image_ids: Sequence[UUID], *, suspicious: bool) -> None:
        for image_id in image_ids:
            keys = set(self._store.keys(f"images/{image_id}/"))
            row = self._row(image_id)
            if row is None or row.deleted_at:
                continue
            if row.status in _UNFINISHED and (original := _original(row)) and original not in keys:
                # One that a run has is failed by that, or completed, when it has the picture already.
                self._waiting.note(image_id)
                self._waiting.mended += not suspicious and self._claims.fail_waiting(image_id, OBJECT_MISSING)
            if row.annotated_key and row.annotated_key not in keys:
                self._undrawn.note(image_id)
                if not suspicious:
                    self._draw(image_id, row.annotated_key)
                    self._undrawn.mended += 1
        if suspicious:
            self._bare.alarm = "Most images have no original. Is this the right object store, and is it mounted?"

    def _draw(self, image_id: UUID, key: str) -> None:
        """Draw the annotated picture again from its original and its faces; where that is gone, promise none."""
        image = self._catalog.find(image_id, EVERYONE)
        if image is None or image.annotated_key != key:
            return
        faces = [FoundFace(confidence=face.confidence, box=face.box, keypoints=face.keypoints) for face in image.faces]
        try:
            pixels = decode(self._store.get(image.original_key), max_pixels=self._max_pixels)
            self._store.put(key, annotated(pixels, faces, image.annotation), "image/jpeg")
            log.warning("The annotated picture of image %s was gone, and is drawn anew.", image_id)
        except (ObjectNotFound, ImageError) as error:
            log.warning(
                "The annotated picture of image %s is gone, and so is what it was drawn on: %s", image_id, error
            )
            self._catalog.forget_annotated(image)


def _keep(items: list[T], item: T) -> None:
    if len(items) < _MOST:
        items.append(item)
