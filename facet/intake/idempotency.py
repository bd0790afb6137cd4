"""Idempotency keys: a request that is sent again under its key is done once, and answered as the first time.

A key is held under a lease while its request is worked on, and its answer is stored in the transaction that stores
what the request made. A process that dies in between leaves nothing made, and its hold ends with the lease; one that
was only slow finds that it has lost its hold, and makes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from facet.persistence.database import Database, utcnow
from facet.persistence.models import IdempotencyKey

LEASE = timedelta(seconds=60)
_SWEPT = 100


class KeyReused(Exception):
    """The key was sent before, with another content."""


class KeyBusy(Exception):
    """The key's request is still in progress, here or in another process; or was until its process died just now."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer to the first request of a key."""

    status_code: int
    location: str
    body: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The right to do a key's request."""

    owner: str
    key: str
    holder: UUID


def fingerprint(fields: Mapping[str, object], data: bytes) -> str:
    """The same for the same content alone."""
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


class IdempotencyKeys:
    """The keys in the database. Every method raises Unavailable when that does not answer."""

    def __init__(self, database: Database, *, hours: float) -> None:
        self._database = database
        self._kept = timedelta(hours=hours)

    def begin(self, key: str, content: str, owner: str = "") -> Hold | StoredAnswer:
        """Hold the key to do its request, or get the answer that it had. Raises KeyReused or KeyBusy.

        `content` is the request's fingerprint.
        """
        hold = Hold(owner, key, uuid4())
        with self._database.write() as session:
            now = self._database.now(session)
            self._sweep(session)
            row = self._row(session, hold) or self._insert(session, hold, content, now)
            if row.holder == hold.holder:
                return hold
            if row.expires_at > now:
                if row.fingerprint != content:
                    raise KeyReused(key)
                if row.status_code is not None:
                    return StoredAnswer(row.status_code, row.location or "", row.body or "")
                if row.lease_until > now:
                    raise KeyBusy(key)
            self._take(row, hold, content, now)
            return hold

    def complete(self, session: Session, hold: Hold, answer: StoredAnswer) -> None:
        """Store the answer in the caller's transaction. Raises KeyBusy when the hold is lost to another request."""
        done = session.execute(
            update(IdempotencyKey)
            .where(_is_held(hold), IdempotencyKey.status_code.is_(None))
            .values(
                status_code=answer.status_code,
                location=answer.location,
                body=answer.body,
                expires_at=self._database.now(session) + self._kept,
            )
            .returning(IdempotencyKey.key)
        ).all()
        if not done:
            raise KeyBusy(hold.key)

    def release(self, hold: Hold) -> None:
        """Forget a key whose request made nothing, so that a mended one may use it."""
        with self._database.write() as session:
            session.execute(delete(IdempotencyKey).where(_is_held(hold), IdempotencyKey.status_code.is_(None)))

    def sweep(self) -> int:
        """Forget every key whose time is over, a few at a time. Returns how many there were."""
        forgotten = 0
        while True:
            with self._database.write() as session:
                swept = self._sweep(session)
            forgotten += swept
            if swept < _SWEPT:
                return forgotten

    @staticmethod
    def _row(session: Session, hold: Hold) -> IdempotencyKey | None:
        return session.get(IdempotencyKey, (hold.owner, hold.key), with_for_update=True, populate_existing=True)

    def _insert(self, session: Session, hold: Hold, content: str, now: datetime) -> IdempotencyKey:
        row = IdempotencyKey(owner=hold.owner, key=hold.key)
        self._take(row, hold, content, now)
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:  # another process was quicker
            if quicker := self._row(session, hold):
                return quicker
            raise KeyBusy(hold.key) from None
        return row

    def _take(self, row: IdempotencyKey, hold: Hold, content: str, now: datetime) -> None:
        row.fingerprint, row.holder = content, hold.holder
        row.lease_until, row.expires_at = now + LEASE, now + self._kept
        row.status_code = row.location = row.body = None

    @staticmethod
    def _sweep(session: Session) -> int:
        """Forget a few keys whose time is over."""
        keys = session.execute(
            select(IdempotencyKey.owner, IdempotencyKey.key)
            .where(IdempotencyKey.expires_at <= utcnow())
            .limit(_SWEPT)
            .with_for_update(skip_locked=True)
        ).all()
        if keys:
            session.execute(
                delete(IdempotencyKey).where(
                    tuple_(IdempotencyKey.owner, IdempotencyKey.key).in_([tuple(key) for key in keys])
                )
            )
        return len(keys)


def _is_held(hold: Hold) -> ColumnElement[bool]:
    return and_(
        IdempotencyKey.owner == hold.owner, IdempotencyKey.key == hold.key, IdempotencyKey.holder == hold.holder
    )
