from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from facet.errors import Unavailable
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Base, Run


def test_migrations_lead_to_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_several_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    databases = [Database(empty_database_url) for _ in range(4)]
    errors: list[Exception] = []
    barrier = Barrier(4)

    def upgrade(database: Database) -> None:
        barrier.wait()
        try:
            database.upgrade()
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=upgrade, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with databases[0].read() as session:
        assert session.scalars(select(Run)).all() == []


def test_times_are_utc_and_the_databases_own(database: Database) -> None:
    with database.write() as session:
        session.add(Run())
    with database.read() as session:
        created_at = session.scalars(select(Run.created_at)).one()
        assert session.scalars(select(Run).where(Run.created_at <= utcnow())).one()
        assert session.scalars(select(Run).where(Run.created_at > utcnow())).all() == []
    assert created_at.tzinfo is UTC
    assert abs(created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_failing_block_writes_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:
        session.add(Run())
        session.flush()
        _ = 1 / 0
    with database.read() as session:
        assert session.scalars(select(Run)).all() == []


def test_a_database_that_is_down_is_unavailable_and_a_wrong_statement_is_not(database: Database) -> None:
    down = Database("postgresql+psycopg2://postgres@127.0.0.1:1/facet")
    with pytest.raises(Unavailable), down.read() as session:
        session.execute(text("SELECT 1"))
    same = uuid4()
    with pytest.raises(IntegrityError), database.write() as session:
        session.add_all([Run(id=same), Run(id=same)])
