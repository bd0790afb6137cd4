"""What every object store offers."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it; the time is the store's own."""

    key: str
    modified: datetime


class ObjectStore(Protocol):
    """Objects are bytes under a key of `/`-separated words. Safe to use from several threads.

    Every method raises Unavailable when the store does not answer.
    """

    def put(self, key: str, data: bytes, media_type: str) -> None:
        """Store an object, whole or not at all; one of the same key is replaced."""
        ...

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises ObjectNotFound."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, which ends in `/`."""
        ...

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """The objects under `prefix`, which ends in `/`, in the order of their keys and in flat memory.

        With them comes what a put that was cut short has left, where a store keeps that: under a key whose last word
        begins with a dot.
        """
        ...

    def abort_uploads(self, prefix: str, before: datetime) -> Iterator[str]:
        """Remove the parts of uploads that began earlier and never ended, where a store keeps them apart.

        Gives their keys. Raises NotPermitted.
        """
        ...

    def check(self) -> None:
        """Raises Unavailable unless objects can be stored now; makes the folder or bucket when it is missing."""
        ...
