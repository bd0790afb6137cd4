"""Writers of Prefect's SQLite take turns; begun as readers, all but one of them are ended."""

import asyncio
from pathlib import Path

import sqlalchemy as sa

from deployments.prefect_server import QueuedWriters

_WRITERS = 5


def test_transactions_that_read_and_then_write_all_end_well(tmp_path: Path) -> None:
    database = QueuedWriters(f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    counter = sa.table("counter", sa.column("n"))

    async def increment() -> None:
        async with await database.session(await database.engine()) as session, database.begin_transaction(session):
            n = await session.scalar(sa.select(counter.c.n))
            await asyncio.sleep(0.01)
            await session.execute(sa.update(counter).values(n=n + 1))

    async def count() -> object:
        async with await database.session(await database.engine()) as session:
            await session.execute(sa.text("CREATE TABLE counter AS SELECT 0 AS n"))
            await asyncio.gather(*(increment() for _ in range(_WRITERS)))
            return await session.scalar(sa.select(counter.c.n))

    assert asyncio.run(count()) == _WRITERS
