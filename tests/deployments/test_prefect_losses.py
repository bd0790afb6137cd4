"""What Prefect loses on SQLite is counted and named."""

import asyncio
import logging
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.events.services import event_persister
from prefect.server.utilities.messaging.memory import MemoryMessage

from deployments.prefect.losses import Losses
from tests.support.processes import wait_for


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


class Losing:
    """The loggers of Prefect's server, with what is left of all that they say."""

    def __init__(self, seconds: float = 3600) -> None:
        """The sum comes by itself after so long; `tell` asks for it before."""
        self._losses, self._handler = Losses(seconds), Kept()
        self._handler.addFilter(self._losses)
        self._loggers = [logging.getLogger(name) for name in ("prefect", "uvicorn.error")]
        self.said, self.tell = self._handler.said, self._losses.tell

    def __enter__(self) -> "Losing":
        for logger in self._loggers:
            logger.addHandler(self._handler)
        return self

    def __exit__(self, *_: object) -> None:
        for logger in self._loggers:
            logger.removeHandler(self._handler)


@pytest.fixture
def losing() -> Iterator[Losing]:
    with Losing() as losing:
        yield losing


def sums(said: list[str]) -> list[tuple[int, int]]:
    found = [re.search(r"(\d+) events were dropped, and (\d+) statements", line) for line in said]
    return [(int(match[1]), int(match[2])) for match in found if match]


def test_statements_that_find_the_database_locked_are_counted(tmp_path: Path, losing: Losing) -> None:
    def write(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")

    one, other = (sqlite3.connect(tmp_path / "a.db", timeout=0, isolation_level=None) for _ in range(2))
    write(one)
    for _ in range(5):
        try:
            try:
                write(other)
            except sqlite3.Error as error:
                raise RuntimeError("The request failed.") from error
        except RuntimeError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    logging.getLogger("uvicorn.error").error("Something else")
    losing.tell()
    assert sums(losing.said) == [(0, 5)]
    assert losing.said[:2] == ["Exception in ASGI application", "Something else"] and len(losing.said) == 3
    losing.tell()
    assert len(losing.said) == 3, "nothing was lost since"


def test_events_that_prefects_persister_drops_are_counted(losing: Losing, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unable(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(event_persister, "write_events", unable)

    async def persist() -> None:
        async with event_persister.create_handler(batch_size=4, max_flush_retries=1) as handle:
            for number in range(8):
                await handle(MemoryMessage(data=event(number), attributes={}))

    asyncio.run(persist())
    losing.tell()
    assert sums(losing.said) == [(8, 0)]
    assert ["dropping 4 events" in line for line in losing.said] == [True, False]


def test_the_sum_comes_by_itself() -> None:
    with Losing(seconds=0.05) as losing:
        logging.getLogger("prefect").error("Max retries reached, dropping event id=%s", _id(1))
        wait_for(lambda: sums(losing.said) == [(1, 0)], 5, "the sum is said")


def event(number: int) -> str:
    return ReceivedEvent(
        occurred="2026-01-01T00:00:00Z", event=f"e{number}", resource={"prefect.resource.id": "r"}, id=_id(number)
    ).model_dump_json()


def _id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"
