"""When maintenance last completed, and whether it is overdue: whatever keeps it from running, this notices."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from facet.persistence.database import Database
from facet.persistence.models import Maintenance
from facet.settings import Settings


@dataclass(frozen=True, slots=True)
class Age:
    """How long ago maintenance last completed, or was first expected to."""

    seconds: float
    is_overdue: bool

    @property
    def complaint(self) -> str | None:
        """What is wrong, where it is overdue."""
        return f"`maintain` has not completed for {self.seconds / 3600:.1f} hours." if self.is_overdue else None


class Completion:
    """Every method raises Unavailable when the database does not answer."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._longest = timedelta(hours=settings.maintenance_overdue_hours)

    def record(self) -> None:
        """All of it was done just now."""
        with self._database.write() as session:
            row = session.get(Maintenance, 1) or Maintenance(id=1)
            row.completed_at = self._database.now(session)
            session.add(row)

    def age(self) -> Age:
        with self._database.read() as session:
            row = session.scalars(select(Maintenance)).one_or_none()
            now = self._database.now(session)
        age = now - (row.completed_at or row.expected_since) if row else timedelta(0)
        return Age(age.total_seconds(), age > self._longest)
