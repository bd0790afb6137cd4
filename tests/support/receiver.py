"""A callback receiver that keeps what it gets."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.support.processes import wait_for


@dataclass
class Receiver:
    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """Answers to give, one a request; 204 when there are none left."""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def body_of(self, request_id: str, seconds: float = 90) -> dict[str, Any]:
        """The callback of this request, awaited."""
        wait_for(lambda: self.count(request_id), seconds, f"a callback of {request_id}")
        return next(body for body in self.bodies if body["request_id"] == request_id)

    def count(self, request_id: str) -> int:
        return sum(body["request_id"] == request_id for body in self.bodies)


@contextmanager
def serving(answer: Callable[[dict[str, Any]], int]) -> Iterator[str]:
    """An HTTP server on a free port that hands each posted JSON body to `answer`, the status to give; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answer(body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silent: the tests look at what came."""

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # with the 5 of the standard library, of many connections at once some wait a second

    server = Server(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/callback"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    def answer(body: dict[str, Any]) -> int:
        receiver.bodies.append(body)
        return receiver.statuses.pop(0) if receiver.statuses else 204

    with serving(answer) as receiver.url:
        yield receiver
