"""The doctor on a database that answers and takes no writes."""

from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from cli.doctor import examine
from facet.persistence.database import Database
from facet.settings import get_settings
from tests.support.databases import make_tables


def database_fault(monkeypatch: pytest.MonkeyPatch, url: str, home: Path) -> str:
    for name, value in {
        "FACET_DATABASE_URL": url,
        "FACET_HOME": str(home),
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    [check] = [check for check in examine() if check.name == "database"]
    get_settings.cache_clear()
    return "" if check.ok else f"{check.detail} {check.fix}"


def test_a_database_that_is_read_only_is_named(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"doctor_{uuid4().hex[:12]}"
    server = create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        Database(f"{postgres}/{name}").upgrade()
        assert database_fault(monkeypatch, f"{postgres}/{name}", tmp_path) == ""
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        fault = database_fault(monkeypatch, f"{postgres}/{name}", tmp_path)
    server.dispose()
    assert "read-only" in fault and "FACET_DATABASE_URL" in fault


def test_a_file_that_is_read_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "facet.db"
    database = Database(f"sqlite:///{file}")
    make_tables(database)
    database.close()
    assert "readonly" in database_fault(monkeypatch, f"sqlite:///file:{file}?mode=ro&uri=true", tmp_path)
