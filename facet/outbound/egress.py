"""Requests to addresses that strangers name: only to those that the rules allow, in bounded time, never redirected.

The rules decide at the moment of connecting, and the connection goes to an address that they returned, so that a name
that resolves differently the next time (DNS rebinding) gains nothing. Host header, SNI and certificate check keep the
URL's own name. No proxy of the environment is used.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from facet.outbound.addresses import AddressRules, NotResolved, Target, parse_url

_READ_BYTES = 65_536
_WRITE_BYTES = 4096


class NotAnswered(Exception):
    """The request got no answer: the message says what went wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the first bytes of its body; `cut` when that is not the whole of it, whatever the reason."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool


class Egress:
    """Sends requests under the rules; any number of threads may use it at once."""

    def __init__(self, rules: AddressRules, *, seconds: float, ssl_context: Any = None) -> None:
        """`seconds` bound each request as a whole, from resolving the name to the last byte read."""
        self._rules = rules
        self._seconds = seconds
        self._ssl = ssl_context or httpx.create_ssl_context()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        max_bytes: int,
    ) -> Answer:
        """Send a request and read up to `max_bytes` of its answer's body. Raises UrlRefused or NotAnswered."""
        target = parse_url(url)
        own = {"Host": target.authority, "User-Agent": "facet", "Accept-Encoding": "identity", "Connection": "close"}
        origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
        backend = _GuardedBackend(self._rules, target, time.monotonic() + self._seconds)
        try:
            with (
                httpcore.HTTPConnection(origin, ssl_context=self._ssl, network_backend=backend) as connection,
                connection.stream(
                    method,
                    httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
                    headers=list((own | dict(headers or {})).items()),
                    content=content,
                ) as response,
            ):
                return _read(response, max_bytes)
        except httpcore.TimeoutException as error:
            raise NotAnswered(f"No answer within {self._seconds:g} s.") from error
        except NotResolved as error:
            raise NotAnswered(str(error)) from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise NotAnswered(f"{type(error).__name__}: {error}") from error


def _read(response: httpcore.Response, max_bytes: int) -> Answer:
    kept, whole = bytearray(), False
    try:
        for chunk in response.iter_stream():
            kept += chunk
            if len(kept) > max_bytes:
                break
        else:
            whole = True
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        pass  # the status has come, and tells what the caller asked
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return Answer(response.status, headers, bytes(kept[:max_bytes]), not whole)


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects one request to an allowed address of its target."""

    def __init__(self, rules: AddressRules, target: Target, deadline: float) -> None:
        self._rules = rules
        self._target = target
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._rules.resolve(self._target, self._deadline - time.monotonic())
        for tried, address in enumerate(addresses):
            # A silent address leaves its share of the time to those that follow.
            share = _left(self._deadline, httpcore.ConnectTimeout) / (len(addresses) - tried)
            try:
                stream = self._backend.connect_tcp(str(address), self._target.port, share, None, socket_options)
                return _BoundedStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if tried == len(addresses) - 1:
                    raise
        raise httpcore.ConnectError("The host has no address.")


class _BoundedStream(httpcore.NetworkStream):
    """A connection of which every step ends by the deadline, however slowly the other side drips."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(min(max_bytes, _READ_BYTES), _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):
            part = buffer[start : start + _WRITE_BYTES]
            self._stream.write(part, _left(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, late: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("The time is over.")
    return left
