"""Checks of single settings, at the start and without asking a server. Each raises ValueError with the mend.

No message holds the value of a URL of a database: a password may be in it.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sqlalchemy import URL

_DATABASES = "postgresql+psycopg2://user:password@host:5432/database or sqlite:////folder/facet.db"
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?![.-])){1,61}[a-z0-9]", re.ASCII)


def check_home(value: Path) -> Path:
    """A folder, or a path at which one can be made."""
    there = next(path for path in (value.absolute(), *value.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{there} is no folder; name one, or a path at which one can be made")
    return value


def check_database_url(value: str) -> str:
    """The URL with its driver: `postgres://`, as hosts of databases hand it out, is `postgresql+psycopg2://`."""
    from sqlalchemy import make_url  # half the time that the settings would take to load without it
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(value)
    except (ArgumentError, ValueError) as error:
        several = "; several servers are ?host=a:5432&host=b:5432 behind the database"
        raise ValueError(f"not such as {_DATABASES}{several}") from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg2")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.database in (None, "", ":memory:"):
            raise ValueError("it names no file, which all processes can open; write sqlite:////folder/facet.db")
    elif url.drivername == "postgresql+psycopg2":
        _check_postgresql(url)
    else:
        raise ValueError(f"{url.drivername}:// is not supported; write {_DATABASES}")
    return url.render_as_string(hide_password=False)


def _check_postgresql(url: "URL") -> None:
    import psycopg2  # type: ignore[import-untyped]
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        arguments, options = url.get_dialect()().create_connect_args(url)
        psycopg2.extensions.make_dsn(*arguments, **options)
    except (ArgumentError, NoSuchModuleError, psycopg2.Error) as error:
        why = str(error).strip().splitlines()[0]
        raise ValueError(
            f"PostgreSQL's client does not take it ({why}); its options are libpq's, such as sslmode"
        ) from error


def check_web_url(value: str) -> str:
    """An absolute URL of HTTP."""
    try:
        parts = urlsplit(value)
        well = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:  # no port, or half an IPv6 address
        well = False
    if not well or re.search(r"\s", value):
        raise ValueError("not such as https://example.com or http://127.0.0.1:8000")
    return value


def check_s3_endpoint(value: str) -> str:
    """`host:port`, or the same with its scheme."""
    scheme, _, server = value.rpartition("://")
    if scheme.lower() not in ("", "http", "https"):
        raise ValueError(f"{scheme}:// is not spoken; write host:port, or https:// or http:// before it")
    server = server.rstrip("/")
    if "/" in server or "?" in server or "@" in server:
        raise ValueError(
            "a path, a query or a user is in it; write host:port alone: the bucket goes into FACET_S3_BUCKET, the user "
            "into FACET_S3_ACCESS_KEY"
        )
    check_web_url(f"https://{server}")
    return value


def check_bucket(value: str) -> str:
    """A name that every S3 server takes."""
    if not _BUCKET.fullmatch(value):
        raise ValueError(
            "a bucket's name has 3 to 63 small letters, digits, dots and dashes; a folder in it is not used"
        )
    return value
