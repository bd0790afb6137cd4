"""What is removed because its time is over, in small transactions."""

from datetime import datetime, timedelta

from sqlalchemy import delete, exists, or_, select

from facet.intake.catalog import Catalog
from facet.intake.idempotency import IdempotencyKeys
from facet.maintenance.findings import Finding
from facet.persistence.database import Database
from facet.persistence.models import Delivery, DeliveryState, Image, ImageStatus, Run, RunState
from facet.settings import Settings

_BATCH = 100
_ENDED = (ImageStatus.COMPLETED, ImageStatus.FAILED, ImageStatus.CANCELLED)


class Retention:
    """One pass is `run`. It raises Unavailable when the database or the store does not answer."""

    def __init__(self, database: Database, catalog: Catalog, keys: IdempotencyKeys, settings: Settings) -> None:
        self._database = database
        self._catalog = catalog
        self._keys = keys
        self._days = settings.retention_days

    def run(self) -> list[Finding]:
        removed = {"Idempotency keys": self._keys.sweep()}
        if self._days is not None:
            with self._database.read() as session:
                before = self._database.now(session) - timedelta(days=self._days)
            removed |= {
                "Images": self._images(before),
                "Deliveries": self._deliveries(before),
                "Runs": self._runs(before),
            }
        return [
            Finding(f"{what} whose time is over", "removed", found=count, mended=count)
            for what, count in removed.items()
        ]

    def _images(self, before: datetime) -> int:
        """Images that have ended, and whose deliveries have: with faces, deliveries and objects."""
        told_late = or_(Delivery.state == DeliveryState.PENDING, Delivery.finished_at >= before)
        old = (
            select(Image)
            .where(
                Image.created_at < before,
                Image.finished_at < before,
                Image.status.in_(_ENDED),
                Image.deleted_at.is_(None),
                ~exists().where(Delivery.image_id == Image.id, told_late),
            )
            .order_by(Image.created_at, Image.id)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )
        removed = 0
        while True:
            with self._database.write() as session:
                images = session.scalars(old).all()
                for image in images:  # a tombstone, as with a DELETE: what is cut short here is finished later
                    image.deleted_at = self._database.now(session)
                    image.claim_epoch += 1
            for image in images:
                self._catalog.purge(image)
            removed += len(images)
            if len(images) < _BATCH:
                return removed

    def _deliveries(self, before: datetime) -> int:
        """Former deliveries of images that are newer: those of a result that another has replaced, say."""
        return self._remove(
            Delivery,
            Delivery.created_at < before,
            Delivery.finished_at < before,
            Delivery.state != DeliveryState.PENDING,
        )

    def _runs(self, before: datetime) -> int:
        return self._remove(
            Run, Run.state == RunState.OVER, Run.finished_at < before, ~exists().where(Image.run_id == Run.id)
        )

    def _remove(self, table: type[Delivery] | type[Run], *conditions: object) -> int:
        removed = 0
        while True:
            with self._database.write() as session:
                old = select(table.id).where(*conditions).limit(_BATCH)  # type: ignore[arg-type]
                ids = session.scalars(old.with_for_update(skip_locked=True)).all()
                session.execute(delete(table).where(table.id.in_(ids)))
            removed += len(ids)
            if len(ids) < _BATCH:
                return removed
