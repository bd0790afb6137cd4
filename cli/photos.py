"""Which photos the sources of `facet submit` are, and which files of a folder are left out."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import typer

from facet.pictures.signatures import FIRST_BYTES, is_picture

Photo = tuple[Path | str, str]
"""A file or a URL, and the name of its request."""

_NAMES = re.compile(r"\.(jpe?g|jpe|jfif|mpo|png|webp|bmp|dib|tiff?|gif|avif|hei[cf]|hif)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MOST_NAMED = 10


def find(sources: Sequence[str]) -> tuple[list[Photo], list[str]]:
    """The photos, and the files of folders that are none. Raises BadParameter."""
    photos: list[Photo] = []
    left_out: list[str] = []
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")):
            photos.append((source, source[:200]))
        elif path.is_dir():
            found, others = _of_folder(path)
            if not found:
                raise typer.BadParameter(f"The folder {path} holds no photos. {told(others)}".strip())
            photos += found
            left_out += others
        elif path.is_file():
            photos.append((path, _request(path.name)))
        else:
            raise typer.BadParameter(f"There is no file, folder or URL {source}.")
    return photos, left_out


def told(left_out: Sequence[str], *, as_json: bool = False) -> str:
    """What was left out, in one line: how many files, and the names of the first."""
    names = left_out[:_MOST_NAMED]
    if as_json:
        return json.dumps({"left_out": len(left_out), "names": names})
    more = f" and {len(left_out) - len(names)} more" if len(left_out) > len(names) else ""
    return f"Left out {len(left_out)} file(s) that are no photos: {', '.join(names)}{more}." if left_out else ""


def _of_folder(folder: Path) -> tuple[list[Photo], list[str]]:
    photos: list[Photo] = []
    left_out: list[str] = []
    for file in sorted(folder.rglob("*")):
        if file.is_dir():
            continue
        within = file.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in within.parts)
        if file.is_file() and not is_hidden and _is_photo(file):
            photos.append((file, _request(str(within))))
        else:
            left_out.append(_readable(str(within)))
    return photos, left_out


def _is_photo(file: Path) -> bool:
    """By its content; what is only called a photo, or cannot be read, is sent too, so that it is said what is wrong."""
    if _NAMES.fullmatch(file.suffix):
        return True
    try:
        with file.open("rb") as opened:
            return is_picture(opened.read(FIRST_BYTES))
    except OSError:
        return True


def _request(name: str) -> str:
    return _readable(name)[-200:]


def _readable(name: str) -> str:
    """A file's name as text, of one line, whatever its bytes are."""
    return _CONTROL.sub(" ", os.fsencode(name).decode(errors="replace"))
