"""Who asks, and what they may do and see.

A key has a scope, what it may do, and an owner, whose images alone it sees. Keys of one owner see the same images: that
is how a key is replaced without losing sight of what was sent with it, and how one that only reads goes beside one that
submits.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SECRET = re.compile(r"[\x21-\x7e]{32,200}")
_MADE = re.compile(r"facet_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class KeyScope(StrEnum):
    """`read`: its owner's images; `submit`: these, and to send, remove and redeliver; `admin`: all of everyone's."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def covers(self, needed: "KeyScope") -> bool:
        order = list(KeyScope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `id` tells keys apart, for limits; images that it submits belong to `owner`."""

    id: str
    owner: str | None
    scope: KeyScope

    @property
    def sees_all(self) -> bool:
        return self.scope is KeyScope.ADMIN

    def sees(self, owner: Any) -> "ColumnElement[bool]":
        """The condition for the rows, of this column of owners, that it may see."""
        from sqlalchemy import true  # the settings, which need keys alone, are loaded without it

        return true() if self.sees_all else owner == self.owner


EVERYONE = Principal("everyone", None, KeyScope.ADMIN)
"""Whoever asks while no key is configured, and the service itself."""


@dataclass(frozen=True, slots=True)
class SettingsKey:
    """A key of `FACET_API_KEYS`, of which only the hash is kept."""

    principal: Principal
    hash: str = field(repr=False)


def parse_keys(keys: SecretStr) -> list[SettingsKey]:
    """`owner:scope:secret`, separated by commas. Raises ValueError, naming no secret."""
    words = [word.strip() for word in keys.get_secret_value().split(",") if word.strip()]
    found = []
    for position, word in enumerate(words, 1):
        owner, scope, secret = [*word.split(":", 2), "", ""][:3]
        if not (OWNER.fullmatch(owner) and scope in list(KeyScope) and _SECRET.fullmatch(secret)):
            raise ValueError(
                f"key {position} of {len(words)} is not owner:scope:secret, with the scope {', '.join(KeyScope)} and a "
                "secret of 32 to 200 visible characters"
            )
        principal = Principal(f"setting {position}", owner, KeyScope(scope))
        found.append(SettingsKey(principal, hash_key(secret)))
    return found


def new_key() -> tuple[str, str]:
    """A new key's id, by which it is looked up, and the whole of it: `facet_<id>_<256 random bits>`."""
    new_id = secrets.token_hex(6)
    return new_id, f"facet_{new_id}_{secrets.token_urlsafe(32)}"


def key_id(key: str) -> str | None:
    """The id of a key that `new_key` could have made."""
    match = _MADE.fullmatch(key)
    return match[1] if match else None


def hash_key(key: str) -> str:
    """Keys are long and random, so nothing slower is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def find_key(key: str, among: Sequence[SettingsKey]) -> Principal | None:
    """The key's principal, compared in the same time whichever it is."""
    hashed, found = hash_key(key), None
    for candidate in among:
        if hmac.compare_digest(hashed, candidate.hash):
            found = candidate.principal
    return found
