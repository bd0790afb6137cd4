"""An HTTP proxy on loopback that can be made to fail: before the API, the S3 server and the callback receiver."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.support.processes import free_port

_UPSTREAM_SECONDS = 60


class Way(StrEnum):
    PASS = "pass"
    DOWN = "down"  # connections are refused, open ones end
    HUNG = "hung"  # requests are taken and never answered
    SLOW = "slow"  # each request waits before it is passed on
    STATUS = "status"  # answered with an error, not passed on
    LOST = "lost"  # passed on; then the connection ends instead of the answer


@dataclass(frozen=True)
class Mode:
    way: Way = Way.PASS
    seconds: float = 0
    status: int = 500
    holding: bytes = b""
    """Only requests of which the body holds this are treated so."""


class FaultProxy:
    """Passes each request on to `127.0.0.1:upstream_port`, or treats it as `mode` says."""

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.port = free_port()
        self.mode = Mode()
        self._server: ThreadingHTTPServer | None = None
        self._listen()

    @contextmanager
    def failing(self, mode: Mode) -> Iterator[None]:
        self.mode = mode
        if mode.way is Way.DOWN:
            self.close()
        try:
            yield
        finally:
            self.mode = Mode()
            if mode.way is Way.DOWN:
                self._listen()

    def close(self) -> None:
        """Refuse connections; requests on open ones find the mode DOWN."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _listen(self) -> None:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        with suppress(OSError):  # whoever asked has hung up
            super().handle_one_request()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mode = self.owner.mode if self.owner.mode.holding in body else Mode()
        if mode.way is Way.DOWN:
            self.close_connection = True
        elif mode.way is Way.STATUS:
            self._answer(mode.status, [], b"<Error><Code>InternalError</Code></Error>")
        elif mode.way is Way.HUNG:
            while self.owner.mode.way is Way.HUNG:
                time.sleep(0.2)
            self.close_connection = True
        else:
            if mode.way is Way.SLOW:
                time.sleep(mode.seconds)
            self._pass_on(body, lose=mode.way is Way.LOST)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _handle

    def _pass_on(self, body: bytes, *, lose: bool) -> None:
        upstream = HTTPConnection("127.0.0.1", self.owner.upstream_port, timeout=_UPSTREAM_SECONDS)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            content = answer.read()
        except (OSError, HTTPException):  # as a dead upstream looks to its client
            self.close_connection = True
            return
        finally:
            upstream.close()
        if lose:
            self.close_connection = True
        else:
            self._answer(answer.status, answer.getheaders(), content)

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        kept = [(n, v) for n, v in headers if n.lower() not in ("transfer-encoding", "connection")]
        for name, value in kept:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in kept) and status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""
