"""What a database cannot do now is an outage, whatever the driver calls it, and its connections are not kept."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from facet.errors import Unavailable
from facet.persistence.database import Database
from facet.persistence.models import Run
from tests.support.databases import make_tables


def write(database: Database) -> None:
    with database.write() as session:
        session.add(Run())


def raising(database: Database, code: str) -> None:
    """Let the server raise an error of this code."""
    with database.write() as session:
        session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'so' USING ERRCODE = '{code}'; END $$"))


@pytest.fixture(scope="module")
def on_postgres(postgres: str) -> Iterator[tuple[Database, Engine]]:
    """A migrated database, and its server to be changed under it."""
    server = create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
    name = f"outages_{uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    database = Database(f"{postgres}/{name}")
    database.upgrade()
    yield database, server
    database.close()
    server.dispose()


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        *((code, False) for code in ("08006", "25006", "25P03", "28000", "42501", "53100", "53200", "53300")),
        *((code, False) for code in ("57014", "57P01", "57P03", "58030", "F0001", "XX000", "XX001")),
        *((code, True) for code in ("40001", "40P01", "55006", "55P03", "72000")),
    ],
)
def test_what_the_server_cannot_do_now_is_an_outage(
    on_postgres: tuple[Database, Engine], code: str, kept: bool
) -> None:
    database, _ = on_postgres
    opened: list[object] = []
    write(database)
    event.listen(database.engine, "connect", note := lambda *connection: opened.append(connection))
    with pytest.raises(Unavailable, match=r"does not answer|refuses"):
        raising(database, code)
    write(database)
    event.remove(database.engine, "connect", note)
    assert (opened == []) is kept, "whether the connection stays in the pool"


@pytest.mark.parametrize("code", ["22003", "23505", "25P02", "42601", "54000", "0A000", "P0001"])
def test_what_is_wrong_with_a_statement_is_no_outage(on_postgres: tuple[Database, Engine], code: str) -> None:
    with pytest.raises(DBAPIError):
        raising(on_postgres[0], code)


def test_a_read_only_server_is_an_outage_and_a_connection_of_that_time_writes_afterwards(
    on_postgres: tuple[Database, Engine],
) -> None:
    database, server = on_postgres
    change = f"ALTER DATABASE {database.engine.url.database} SET default_transaction_read_only"
    with server.connect() as connection:
        connection.execute(text(f"{change} = on"))
    database.close()  # the pool is empty: what it opens next is read-only
    for attempt in (write, Database.check):
        with pytest.raises(Unavailable, match="ReadOnlySqlTransaction"):
            attempt(database)
    with database.read() as session:  # opened at that time, and kept
        session.execute(text("SELECT 1"))
    with server.connect() as connection:
        connection.execute(text(f"{change} = off"))
    with pytest.raises(Unavailable):
        write(database)
    write(database)
    database.check()


def test_a_pool_without_a_free_connection_is_an_outage(on_postgres: tuple[Database, Engine]) -> None:
    database = Database(on_postgres[0].url)
    pool = database.engine.pool
    pool._timeout = 0.01  # type: ignore[attr-defined]
    taken = [pool.connect() for _ in range(pool.size() + pool._max_overflow)]  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="no connection is free"):
        database.check()
    for connection in taken:
        connection.close()
    database.check()
    database.close()


def test_a_server_that_falls_silent_is_not_waited_for_unless_the_url_says_so(postgres: str) -> None:
    for query, timeout in (("", "25000"), ("?tcp_user_timeout=3000", "3000")):
        database = Database(f"{postgres}/postgres{query}")
        with database.read() as session:
            driver: Any = session.connection().connection.dbapi_connection
            options = driver.info.dsn_parameters
        assert (options["tcp_user_timeout"], options["keepalives_idle"]) == (timeout, "10")
        database.close()


# ---- SQLite


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'facet.db'}")
    make_tables(database)
    yield database
    database.close()


@pytest.mark.parametrize("error", ["SQLITE_READONLY", "SQLITE_FULL", "SQLITE_BUSY"])
def test_what_sqlite_cannot_do_now_is_an_outage(on_sqlite: Database, tmp_path: Path, error: str) -> None:
    other = sqlite3.connect(tmp_path / "facet.db", isolation_level=None)
    with on_sqlite.read() as session:
        pooled = session.connection().connection.dbapi_connection
        assert isinstance(pooled, sqlite3.Connection)
        if error == "SQLITE_READONLY":
            pooled.execute("PRAGMA query_only=ON")
        elif error == "SQLITE_FULL":
            [(pages,)] = pooled.execute("PRAGMA page_count").fetchall()
            pooled.execute(f"PRAGMA max_page_count={pages}")
        else:
            pooled.execute("PRAGMA busy_timeout=0")
            other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=error), on_sqlite.write() as session:
        session.add_all(Run() for _ in range(1000))
    other.close()
    write(on_sqlite)


def test_a_file_that_cannot_be_opened_or_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way " * 100)
    for url, error in ((f"{tmp_path}/file/facet.db", "SQLITE_CANTOPEN"), (f"{tmp_path}/file", "SQLITE_NOTADB")):
        database = Database(f"sqlite:///{url}")
        with pytest.raises(Unavailable, match=error):
            database.check()
        with pytest.raises(Unavailable, match="cannot be written"):
            database.upgrade()
        database.close()


def test_a_database_without_its_tables_says_what_to_run(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    attempts: list[Callable[[Database], None]] = [write, Database.check]
    for attempt in attempts:
        with pytest.raises(Unavailable, match="facet db upgrade"):
            attempt(database)
    database.close()


def test_a_user_who_may_not_make_tables_is_told_so(on_postgres: tuple[Database, Engine]) -> None:
    database, server = on_postgres
    name = f"user_{uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    guest = Database(database.url.replace("postgres@", f"{name}@").rpartition("/")[0] + f"/{name}")
    with pytest.raises(Unavailable, match="refuses: InsufficientPrivilege"):
        guest.upgrade()
    guest.close()
