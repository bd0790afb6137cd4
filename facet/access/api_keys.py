"""The API keys: those of the settings, and rows that `facet keys` makes. Of both only hashes are kept."""

import hmac
import time
from collections.abc import Sequence
from threading import Lock

from sqlalchemy import or_, select

from facet.persistence.database import Database
from facet.persistence.models import ApiKey
from facet.principals import KeyScope, Principal, find_key, hash_key, key_id, new_key, parse_keys
from facet.settings import Settings

_LIST_SECONDS = 5.0


class NameTaken(Exception):
    """A key, or an owner, has this name."""


class ApiKeys:
    """Every method raises Unavailable when the database does not answer.

    No answer is remembered between requests, so that a revoked key stops at once in every process.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._of_settings = parse_keys(settings.api_keys)
        self._required = bool(self._of_settings)
        self._listing = Lock()
        self._listed: frozenset[str] = frozenset()
        self._listed_at = float("-inf")

    def required(self) -> bool:
        """Whether a key is needed: one is configured, or was ever made, so that revoking the last opens nothing."""
        if not self._required:
            with self._database.read() as session:
                self._required = session.scalar(select(ApiKey.id).limit(1)) is not None
        return self._required

    def lists(self, key: str) -> bool:
        """Whether `authenticate` may know the key, by a list that is up to five seconds old.

        However many bad keys come, it asks the database no more often.
        """
        if find_key(key, self._of_settings):
            return True
        with self._listing:
            if time.monotonic() - self._listed_at > _LIST_SECONDS:
                with self._database.read() as session:
                    self._listed = frozenset(session.scalars(select(ApiKey.hash).where(ApiKey.revoked_at.is_(None))))
                self._listed_at = time.monotonic()
            return hash_key(key) in self._listed

    def authenticate(self, key: str) -> Principal | None:
        """The key's principal, or None for one that is unknown or revoked."""
        if found := find_key(key, self._of_settings):
            return found
        row_id = key_id(key)
        if row_id is None:
            return None
        with self._database.read() as session:
            row = session.get(ApiKey, row_id)
        same = hmac.compare_digest(hash_key(key), row.hash if row else "0" * 64)
        return Principal(row.id, row.owner, row.scope) if row and same and row.revoked_at is None else None

    def create(self, name: str, scope: KeyScope, owner: str | None = None) -> str:
        """Make a key and return it: it can be read this once. Without an owner it is its own. Raises NameTaken."""
        row_id, key = new_key()
        with self._database.write() as session:
            taken = [ApiKey.name == name] if owner else [ApiKey.name == name, ApiKey.owner == name]
            in_settings = not owner and name in {entry.principal.owner for entry in self._of_settings}
            if in_settings or session.scalar(select(ApiKey.id).where(or_(*taken)).limit(1)):
                raise NameTaken(name)
            session.add(ApiKey(id=row_id, name=name, owner=owner or name, scope=scope, hash=hash_key(key)))
        return key

    def all(self) -> Sequence[ApiKey]:
        """The rows, oldest first, revoked ones too."""
        with self._database.read() as session:
            return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()

    def revoke(self, name: str) -> bool:
        """Stop a key for good. Returns whether there is one of this name."""
        with self._database.write() as session:
            row = session.scalars(select(ApiKey).where(ApiKey.name == name).with_for_update()).one_or_none()
            if row is None:
                return False
            row.revoked_at = row.revoked_at or self._database.now(session)
            return True
