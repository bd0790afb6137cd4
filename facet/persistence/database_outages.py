"""Which of a database's errors are an outage: they tell of its state, and neither the statement nor the image is wrong.

PostgreSQL's codes are those of appendix A of its manual, by class (the first two characters) or whole; SQLite's are its
primary result codes.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, TimeoutError

from facet.errors import Unavailable

_SERVER_STATES = (
    "08",  # the connection is lost
    "25006",  # read-only: a standby, or a primary that was demoted
    "25P03",  # the transaction was idle for too long
    "25P04",  # the transaction was open for too long
    "28",  # this user may not log in (any more)
    "42501",  # this user lacks a right
    "53",  # out of disk, memory or connections
    "57",  # shut down, starting, cancelled by an administrator
    "58",  # I/O error
    "F0",  # the data folder is locked
    "XX",  # a fault of the server's own
)
"""The next connection may lead to a server that is well, such as the new primary: this one's are dropped."""

_PASSING_STATES = (
    "40",  # deadlock or conflict
    "55",  # a lock, or another object, cannot be had now
    "72",  # the snapshot is too old
)

_UNMIGRATED = ("3D", "3F", "42P01", "42703")
"""Database, schema, table or column is not there (yet)."""

_SQLITE_STATES = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOTADB,
}
"""SQLite keeps a file that it could open for reading alone so, until it is opened anew."""

_SQLITE_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_SCHEMA}


def drop_connections(engine: Engine) -> None:
    """Let no connection stay in the pool after an error that tells of its server's state."""
    event.listen(engine, "handle_error", _drop)


def _drop(context: ExceptionContext) -> None:
    error = context.original_exception
    if _is_in(error, _SERVER_STATES, _SQLITE_STATES):
        context.is_disconnect = True
        if context.execution_context:  # SQLAlchemy leaves its cursor open then, and SQLite keeps its locks for as long
            context.execution_context.cursor.close()


@contextmanager
def outages_told() -> Iterator[None]:
    """Raises Unavailable for an outage; what is wrong with a statement goes on as it is."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable("The database does not answer: no connection is free.") from error
    except DBAPIError as error:
        if _is_unmigrated(error.orig):
            raise Unavailable(f"The database lacks tables: {_name(error.orig)}. Run `facet db upgrade`.") from error
        if _is_in(error.orig, ("42501",), set()):
            raise Unavailable(f"The database refuses: {_name(error.orig)}. Grant its user the right.") from error
        if error.connection_invalidated or _is_outage(error):
            raise Unavailable(f"The database does not answer: {_name(error.orig)}.") from error
        raise


def _is_outage(error: DBAPIError) -> bool:
    original: Any = error.orig
    if _is_in(original, _SERVER_STATES + _PASSING_STATES, _SQLITE_STATES | _SQLITE_PASSING):
        return True
    has_code = getattr(original, "pgcode", None) or isinstance(original, sqlite3.Error)
    return not has_code and type(error).__name__ == "OperationalError"  # it could not connect


def _is_unmigrated(error: Any) -> bool:
    return _is_in(error, _UNMIGRATED, set()) or (
        isinstance(error, sqlite3.Error) and str(error).startswith(("no such table", "no such column"))
    )


def _is_in(error: Any, postgresql: tuple[str, ...], sqlite: set[int]) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in sqlite
    return (getattr(error, "pgcode", None) or "").startswith(postgresql)


def _name(error: Any) -> str:
    """What it is called by the database: an error's text may hold names of hosts and users."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
