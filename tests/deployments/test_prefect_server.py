"""Writers of Prefect's SQLite take turns; begun as readers, all but one of them are ended."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.prefect.server import BUSY_MILLISECONDS, QueuedWriters

_WRITERS = 5
_COUNTER = sa.table("counter", sa.column("n"))


@pytest.fixture
def database(tmp_path: Path) -> QueuedWriters:
    return QueuedWriters(f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")


def test_transactions_that_read_and_then_write_all_end_well(database: QueuedWriters) -> None:
    async def increment() -> None:
        async with await _session(database) as session, database.begin_transaction(session):
            n = await session.scalar(sa.select(_COUNTER.c.n))
            await asyncio.sleep(0.01)
            await session.execute(sa.update(_COUNTER).values(n=n + 1))

    async def count() -> object:
        await _create(database)
        await asyncio.gather(*(increment() for _ in range(_WRITERS)))
        return await _read(database)

    assert asyncio.run(count()) == _WRITERS


def test_what_reads_within_a_transaction_does_not_wait_for_it(database: QueuedWriters) -> None:
    async def read_within() -> object:
        await _create(database)
        async with await _session(database) as session, database.begin_transaction(session):
            await session.execute(sa.update(_COUNTER).values(n=1))
            async with await _session(database) as inner, database.begin_transaction(inner):
                await _read(database)
                return await inner.scalar(sa.select(_COUNTER.c.n))

    assert asyncio.run(asyncio.wait_for(read_within(), 10)) == 0


def test_a_writer_that_nobody_lets_in_gives_up_in_seconds(database: QueuedWriters) -> None:
    async def wait() -> object:
        async with await _session(database) as session:
            return await session.scalar(sa.text("PRAGMA busy_timeout"))

    assert asyncio.run(wait()) == BUSY_MILLISECONDS


async def _session(database: QueuedWriters) -> AsyncSession:
    return await database.session(await database.engine())


async def _create(database: QueuedWriters) -> None:
    async with await _session(database) as session:
        await session.execute(sa.text("CREATE TABLE counter AS SELECT 0 AS n"))


async def _read(database: QueuedWriters) -> object:
    async with await _session(database) as session:
        return await session.scalar(sa.select(_COUNTER.c.n))
