"""The application's database: one engine, short transactions, the database's own clock."""

import fcntl
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, create_engine, event, make_url, select, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from facet.errors import Unavailable
from facet.persistence import schema
from facet.persistence.database_outages import drop_connections, outages_told

log = logging.getLogger(__name__)

_DISPATCH_LOCK = 0x_FACE7

_WAITS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""Seconds, the last in milliseconds: a PostgreSQL server whose machine is gone says nothing, and is not waited for."""


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: timezone-aware in Python, UTC in every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class utcnow(FunctionElement[datetime]):
    """The database's clock, which alone decides about leases and due dates."""

    type = UTCDateTime()
    inherit_cache = True


@compiles(utcnow, "postgresql")
def _postgresql_utcnow(element: utcnow, compiler: Any, **kw: Any) -> str:
    return "clock_timestamp()"


@compiles(utcnow, "sqlite")
def _sqlite_utcnow(element: utcnow, compiler: Any, **kw: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


def _prepare_sqlite(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON"):
        dbapi_connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer locks at once: a transaction that read first could not upgrade its lock behind another writer.
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


class Database:
    """Sessions on one database, SQLite or PostgreSQL; `write` commits when its block ends well."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.is_sqlite:
            with suppress(OSError):  # then SQLite says that it cannot open the file
                Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(url)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            waits = {name: value for name, value in _WAITS.items() if name not in make_url(url).query}
            self.engine = create_engine(url, pool_pre_ping=True, connect_args=waits)
        drop_connections(self.engine)
        self._readers = sessionmaker(self.engine, expire_on_commit=False)
        writing = self.engine.execution_options(sqlite_begin="IMMEDIATE")
        self._writers = sessionmaker(writing, expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading. Raises Unavailable when the database cannot be reached."""
        with outages_told(), self._readers() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction. Raises Unavailable when the database cannot be reached; then nothing was written."""
        with outages_told(), self._writers.begin() as session:
            yield session

    def check(self) -> None:
        """Raises Unavailable unless rows can be written now; a read-only server refuses even what writes nothing."""
        with self.write() as session:
            session.execute(text("UPDATE images SET id = id WHERE 1 = 0"))

    def lock_dispatch(self, session: Session) -> None:
        """Let one dispatcher at a time past, until the transaction ends (SQLite's writers are alone anyway)."""
        if not self.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _DISPATCH_LOCK})

    def now(self, session: Session) -> datetime:
        """The database's time."""
        return session.scalars(select(utcnow())).one()

    def upgrade(self) -> None:
        """Apply all migrations; a database that a later version has migrated is left as it is.

        One caller at a time; the others wait. Raises Unavailable when that cannot be done now.
        """
        with (
            outages_told(),
            self._upgraded_alone() if self.is_sqlite else nullcontext(),
            self.engine.execution_options(sqlite_begin="IMMEDIATE").connect() as connection,
            _foreign_keys_off(connection) if self.is_sqlite else nullcontext(),
            connection.begin(),
        ):
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _DISPATCH_LOCK})
            schema.apply_all(connection)

    @contextmanager
    def _upgraded_alone(self) -> Iterator[None]:
        """Write-ahead mode, and one upgrade at a time: of two that switch to it at once, SQLite refuses one."""
        file = self.engine.url.database
        with ExitStack() as closing_lock:
            try:
                lock = closing_lock.enter_context(open(f"{file}.lock", "w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                with closing(sqlite3.connect(str(file))) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            except (OSError, sqlite3.Error) as error:
                raise Unavailable(f"The database {file} cannot be written: {error}.") from error
            yield

    def revisions(self) -> tuple[str | None, str]:
        """The migration that the tables are at, and the latest there is."""
        with outages_told(), self.engine.connect() as connection:
            return schema.present_revision(connection), schema.known_revisions()[-1]

    def missing_migrations(self) -> Sequence[str]:
        """Those of this version that the database lacks; none where a later version has migrated it."""
        return schema.revisions_after(self.revisions()[0])

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """To change a table SQLite's way, a new one takes its place; dropping the old one must not delete what hangs on it.

    It holds only from outside a transaction.
    """
    dbapi_connection: Any = connection.connection.dbapi_connection
    dbapi_connection.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        dbapi_connection.execute("PRAGMA foreign_keys=ON")
