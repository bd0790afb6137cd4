"""Databases of the application for tests: their migrations run once in a process, and are copied from then on."""

import secrets
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine, text

from facet.persistence.database import Database


def make_tables(database: Database) -> None:
    """What `Database.upgrade` does, by a copy where the database is a SQLite that is not there yet."""
    file = Path(database.engine.url.database or "")
    if database.is_sqlite and not file.exists():
        file.write_bytes(_migrated_sqlite())
    else:
        database.upgrade()


def create_database(server: str, *, like: str = "template1") -> str:
    """A new database on this PostgreSQL server, a copy of the database `like`; its URL."""
    name = f"facet_{secrets.token_hex(6)}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {like}"))
    engine.dispose()
    return f"{server}/{name}"


@cache
def _migrated_sqlite() -> bytes:
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/facet.db")
        database.upgrade()
        database.close()
        return (Path(folder) / "facet.db").read_bytes()
