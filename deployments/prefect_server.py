"""Prefect's own server in one process, as the embedded stack runs it on SQLite."""

import uvicorn
from prefect.server.api.server import create_app
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class QuickRetries:
    """ASGI middleware that lets clients retry a 503 at once.

    On SQLite two writers that meet end one of them with a 503, which is over in milliseconds; without a
    `Retry-After` Prefect's client waits two seconds and more, with a worker's slot idle meanwhile.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hurry(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                message["headers"] = [*message["headers"], (b"retry-after", b"0.2")]
            await send(message)

        await self._app(scope, receive, hurry if scope["type"] == "http" else send)


def serve(host: str, port: int) -> None:
    """Serve the Prefect API and UI until the process is told to end."""
    app = QuickRetries(create_app(final=True))
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_keep_alive=5)
