"""Answers that are given before the body was read: the rest of it is let go by, so that the answer arrives.

A connection that is closed on somebody who still sends loses them the answer: nginx makes a 502 of it. So the answer is
sent, with `Connection: close`, and what still comes is read and dropped before the connection is closed; as nginx does
for its own answers, within bounds.
"""

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = 20.0
_PAUSE_SECONDS = 3.0
_UNASKED_SECONDS = 0.25
"""Who sends `Expect: 100-continue` and gets an answer instead sends no body; only who did not wait does."""


class EarlyAnswers:
    """ASGI middleware, outside all others, that lets by up to `max_bytes` of a body that nobody has read."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(headers := Headers(scope=scope)):
            return await self._app(scope, receive, send)
        body = _Body(receive, is_asked_for=headers.get("expect", "").lower() != "100-continue")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.has_ended:
                MutableHeaders(scope=message)["Connection"] = "close"
            elif message["type"] == "http.response.body" and not message.get("more_body") and not body.has_ended:
                await send({**message, "more_body": True})
                await body.let_by(self._max_bytes)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, body.receive, answer)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class _Body:
    """What a request carries, and whether all of it has been read."""

    def __init__(self, receive: Receive, *, is_asked_for: bool) -> None:
        self._receive = receive
        self._is_asked_for = is_asked_for
        self.has_ended = False

    async def receive(self) -> Message:
        self._is_asked_for = True
        message = await self._receive()
        self.has_ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def let_by(self, most: int) -> None:
        """Drop what still comes, until its end or one of the bounds."""
        until = time.monotonic() + _SECONDS
        pause = _PAUSE_SECONDS if self._is_asked_for else _UNASKED_SECONDS
        while not self.has_ended and most >= 0 and (left := until - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self.receive(), min(left, pause))
            except TimeoutError:
                return
            pause = _PAUSE_SECONDS
            most -= len(message.get("body", b""))
