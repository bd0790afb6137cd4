"""Cursors of lists that go from the newest row to the oldest."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_


class BadCursor(ValueError):
    """A cursor that no page of this list gave."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page."""

    created_at: datetime
    id: UUID

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.created_at.isoformat()} {self.id}".encode()).decode()

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Raises BadCursor."""
        try:
            created_at, row_id = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
            return cls(datetime.fromisoformat(created_at), UUID(row_id))
        except ValueError as error:
            raise BadCursor(text) from error

    def is_before(self, created_at: Any, row_id: Any) -> ColumnElement[bool]:
        """The condition for the rows of these columns that follow it."""
        return or_(created_at < self.created_at, and_(created_at == self.created_at, row_id < self.id))
