"""The migrations of this version, as Alembic knows them, and the one that a database is at."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection


def migrations_config() -> Config:
    """Alembic's configuration, which is where the migrations lie."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def present_revision(connection: Connection) -> str | None:
    """The migration that the tables are at; None where there are no tables."""
    return MigrationContext.configure(connection).get_current_revision()


def latest_revision() -> str | None:
    return ScriptDirectory.from_config(migrations_config()).get_current_head()


def revisions_after(present: str | None) -> list[str]:
    """The migrations of this version that follow `present`, in their order; none where it does not know that one."""
    scripts = ScriptDirectory.from_config(migrations_config())
    known = [script.revision for script in scripts.walk_revisions()][::-1]
    if present is None:
        return known
    return known[known.index(present) + 1 :] if present in known else []


def apply_all(connection: Connection) -> None:
    """Apply all migrations in the transaction of `connection`; a database of a later version is left as it is."""
    if revisions_after(present_revision(connection)):
        config = migrations_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
