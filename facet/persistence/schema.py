"""The migrations of this version, and the one that a database is at.

A migration's file is named after its revision, so that only who applies some loads Alembic, which takes a while.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).parent / "migrations"


def known_revisions() -> Sequence[str]:
    """All migrations of this version, in their order."""
    return sorted(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def present_revision(connection: Connection) -> str | None:
    """The migration that the tables are at; None where there are no tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def revisions_after(present: str | None) -> Sequence[str]:
    """The migrations of this version that follow `present`, in their order; none where it does not know that one."""
    known = known_revisions()
    if present is None:
        return known
    return known[known.index(present) + 1 :] if present in known else []


def migrations_config(connection: Connection) -> "Config":
    """Alembic's configuration, for migrations in the transaction of `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def apply_all(connection: Connection) -> None:
    """Apply all migrations in the transaction of `connection`; a database of a later version is left as it is."""
    if revisions_after(present_revision(connection)):
        from alembic import command

        command.upgrade(migrations_config(connection), "head")
