"""Objects as files of a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from facet.errors import ObjectNotFound, Unavailable


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


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The object store's folder does not answer: {error.strerror}.") from error
