"""A version waits for its own migrations, and not for those of a later one."""

import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from facet.persistence.database import Database
from tests.support.databases import make_tables
from tests.support.stack import ROOT


def _set_revision(database: Database, revision: str) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_what_is_missing_is_named_in_its_order(database: Database) -> None:
    _, head = database.revisions()
    assert database.missing_migrations() == []
    _set_revision(database, "0003")
    missing = database.missing_migrations()
    assert missing[0] == "0004" and missing[-1] == head
    _set_revision(database, "9999")
    assert database.missing_migrations() == [], "a later version's migrations are no reason to wait"
    database.upgrade()  # nor to fail, after a step back to this version
    assert database.revisions()[0] == "9999"


def test_of_an_empty_database_all_are_missing(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    assert database.missing_migrations()[0] == "0001"
    database.close()


def test_the_worker_says_what_it_waits_for(tmp_path: Path) -> None:
    database = Database(url := f"sqlite:///{tmp_path / 'facet.db'}")
    make_tables(database)
    _set_revision(database, "0004")
    database.close()
    command = [sys.executable, "-m", "cli.main", "worker", "--wait", "0"]
    environment = {"PATH": "", "FACET_DATABASE_URL": url, "FACET_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "0005" in done.stderr and "facet db upgrade" in done.stderr


def test_migrations_only_add() -> None:
    """The code of the version before runs on, beside the new one, until it is replaced."""
    versions = ROOT / "facet" / "persistence" / "migrations" / "versions"
    later = [path for path in sorted(versions.glob("*.py")) if path.name >= "0004"]  # nothing to upgrade before
    assert later
    for path in later:
        upgrade = path.read_text().partition("def upgrade")[2].partition("def downgrade")[0]
        takes_away = re.findall(r"drop_(?:table|column|constraint)|rename_table|new_column_name", upgrade)
        assert not takes_away, f"{path.name}: {takes_away}"
        for column in re.findall(r"add_column\((.*)", upgrade):
            assert "nullable=True" in column or "server_default" in column, f"{path.name}: {column}"
