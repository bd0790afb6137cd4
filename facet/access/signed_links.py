"""Signed links: each lets whoever has it see one picture, without a key, until it expires.

They are for browsers, which cannot send a key: `output_image_url` in callbacks, and the pictures in the Prefect UI.
"""

import base64
import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from uuid import UUID

from facet.settings import Settings


class BadLink(Exception):
    """A link that this service did not sign."""


class ExpiredLink(Exception):
    """A link that was good, and is too old now."""


class Links:
    """Makes and checks links. Without a secret they are plain, and need a key where keys are configured."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def annotated(self, image_id: UUID) -> str:
        """Where a browser sees the image's annotated picture."""
        secret = self._secret()
        if secret is None:
            return f"{self._settings.image_url(image_id)}/annotated"
        expires = int(time.time() + self._settings.link_ttl)
        signature = _sign(secret, image_id, expires)
        return f"{self._settings.base_url}/v1/pictures/{image_id}/annotated?expires={expires}&signature={signature}"

    def check(self, image_id: UUID, expires: int, signature: str) -> None:
        """Raises BadLink or ExpiredLink."""
        secret = self._secret()
        if secret is None or not hmac.compare_digest(_sign(secret, image_id, expires).encode(), signature.encode()):
            raise BadLink
        if expires <= time.time():
            raise ExpiredLink

    def ensure_secret(self) -> bool:
        """Make the secret's file where one machine holds all state. Returns whether there is a secret."""
        if self._secret() is None and self._settings.database_url is None:
            _make(self._file)
        return self._secret() is not None

    @property
    def _file(self) -> Path:
        return self._settings.home / "link-secret"

    def _secret(self) -> bytes | None:
        """Looked for until it is there, since the first key may be made while the service runs."""
        with suppress(FileNotFoundError):
            return self._found
        return None

    @cached_property
    def _found(self) -> bytes:
        return self._settings.link_secret.get_secret_value().encode() or self._file.read_bytes()


def _sign(secret: bytes, image_id: UUID, expires: int) -> str:
    """Of exactly one picture; another kind of link needs another first word."""
    digest = hmac.digest(secret, f"annotated {image_id} {expires}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _make(path: Path) -> None:
    """Write a new secret for this user alone; of several processes that do so at once, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
