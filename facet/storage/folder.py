"""Objects as files of a folder."""

import heapq
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from facet.errors import ObjectNotFound, Unavailable
from facet.storage.base import StoredObject

_SORTED_AT_ONCE = 50_000


class FolderStore:
    """One file an object; a file appears under its name only when it is whole and on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def put(self, key: str, data: bytes, media_type: str) -> None:
        path = self._path(key)
        with _unavailable():
            path.parent.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise

    def get(self, key: str) -> bytes:
        with _unavailable():
            try:
                return self._path(key).read_bytes()
            except FileNotFoundError as error:
                raise ObjectNotFound(key) from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _unavailable():
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: other objects of the image are still there
                path.parent.rmdir()

    def keys(self, prefix: str) -> Iterator[str]:
        with _unavailable():
            for path in sorted(self._path(prefix).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    yield path.relative_to(self._folder).as_posix()

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        with _unavailable():
            yield from _walk(str(self._path(prefix)), prefix)

    def abort_uploads(self, prefix: str, before: datetime) -> Iterator[str]:
        yield from ()  # they come with the objects

    def check(self) -> None:
        with _unavailable():
            self._folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self._folder, prefix="."):
                pass

    def _path(self, key: str) -> Path:
        path = (self._folder / key).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise ValueError(f"The key {key!r} leads out of the store.")
        return path


def _walk(folder: str, prefix: str) -> Iterator[StoredObject]:
    """The files beneath, in the order of their keys; a large folder is read several times rather than kept."""
    after = ""
    while names := heapq.nsmallest(_SORTED_AT_ONCE, _names(folder, after)):
        for name in names:
            if name.endswith("/"):
                yield from _walk(os.path.join(folder, name[:-1]), prefix + name)
            else:
                with suppress(FileNotFoundError):  # deleted since
                    modified = os.stat(os.path.join(folder, name)).st_mtime
                    yield StoredObject(prefix + name, datetime.fromtimestamp(modified, UTC))
        if len(names) < _SORTED_AT_ONCE:
            return
        after = names[-1]


def _names(folder: str, after: str) -> Iterator[str]:
    """The names in a folder that sort behind `after`; those of folders end in `/`, as they do in keys."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
            if name > after:
                yield name


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The object store's folder does not answer: {error.strerror}.") from error
