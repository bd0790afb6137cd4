"""A callback receiver that keeps what it gets."""

import json
from collections.abc import Iterator
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
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.bodies.append(body)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/callback"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
