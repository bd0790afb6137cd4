"""A receiver that behaves badly in a scripted way, at the level of bytes."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

Script = Callable[[socket.socket, Event], None]
"""Answers one request that was read; the event is set when the test is over."""


@dataclass
class Scripted:
    port: int
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Headers, in lower case, and body of each request."""
    at_once: int = 0
    most_at_once: int = 0
    over: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"


@contextmanager
def scripted(script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Serve each connection with the script, in a thread of its own."""
    listener = socket.create_server((host, 0))
    server = Scripted(listener.getsockname()[1])

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            stream = tls.wrap_socket(connection, server_side=True) if tls else connection
            with stream:
                request = _read(stream)
                with server.lock:
                    server.requests.append(request)
                    server.at_once += 1
                    server.most_at_once = max(server.most_at_once, server.at_once)
                try:
                    script(stream, server.over)
                finally:
                    with server.lock:
                        server.at_once -= 1

    def listen() -> None:
        with suppress(OSError):
            while not server.over.is_set():
                Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    Thread(target=listen, daemon=True).start()
    try:
        yield server
    finally:
        server.over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answer(status: int = 204, *, body: bytes = b"", **headers: str) -> Script:
    """Answer with this status; headers as keywords, with _ for -."""

    def script(connection: socket.socket, over: Event) -> None:
        lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return script


def _read(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65_536)
        if not chunk:
            raise OSError("closed early")
        data += chunk
    head, body = data.split(b"\r\n\r\n", 1)
    headers = {n.lower(): v for n, v in re.findall(r"^([^:\r\n]+): ?([^\r\n]*)", head.decode("latin-1"), re.MULTILINE)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65_536)
    return headers, body
