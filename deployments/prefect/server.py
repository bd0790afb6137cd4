"""Prefect's own server in one process, as the embedded stack runs it on SQLite."""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import uvicorn
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.pool import ConnectionPoolEntry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.prefect.internals.server import (
    SQLITE_BEGIN_MODE,
    AioSqliteConfiguration,
    create_app,
    provide_database_interface,
    set_database_config,
)
from deployments.prefect.losses import watch
from facet.loading import loading

BUSY_MILLISECONDS = 10_000
"""For so long a writer waits for another; none takes more than some milliseconds."""


class QueuedWriters(AioSqliteConfiguration):
    """Prefect's SQLite whose transactions wait for their turn where they begin.

    Prefect begins most of them as readers. One that writes after another has written is then ended at once
    ("database is locked"): its event is lost, or its request answered 503. A statement that is cancelled while it
    waits leaves a cursor behind, which the garbage collector may close before the wait is over; that stops the whole
    server, the awaited writer with it. So SQLite waits for seconds instead of Prefect's minute.
    """

    def setup_sqlite(self, conn: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        super().setup_sqlite(conn, record)
        cursor = conn.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        cursor.close()

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncIterator[AsyncSessionTransaction]:
        is_inner = SQLITE_BEGIN_MODE.get() is not None
        async with super().begin_transaction(session, with_for_update or not is_inner) as transaction:
            await session.connection()
            mode = SQLITE_BEGIN_MODE.set("DEFERRED")  # what reads beside it must not wait for it
            try:
                yield transaction
            finally:
                SQLITE_BEGIN_MODE.reset(mode)


class QuickRetries:
    """ASGI middleware that lets clients retry a 503 at once.

    On SQLite two writers that meet end one of them with a 503, which is over in milliseconds; without a
    `Retry-After` Prefect's client waits two seconds and more, with a worker's slot idle meanwhile.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_sooner(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                message["headers"] = [*message["headers"], (b"retry-after", b"0.2")]
            await send(message)

        await self._app(scope, receive, send_sooner if scope["type"] == "http" else send)


def serve(host: str, port: int) -> None:
    """Serve the Prefect API and UI until the process is told to end."""
    config = provide_database_interface().database_config
    if isinstance(config, AioSqliteConfiguration):
        set_database_config(QueuedWriters(config.connection_url))
    with loading():
        app = QuickRetries(create_app(final=True))
    gc.set_threshold(20_000, 20, 50)
    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_keep_alive=5))
    losses = watch()  # by the handlers that uvicorn's configuration has just made, and Prefect's
    with suppress(KeyboardInterrupt):
        server.run()
    losses.tell()
    if not server.started:
        sys.exit("The Prefect server could not start; its log says why.")
