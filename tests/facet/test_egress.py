"""Requests to real servers on loopback, well-behaved and not; names resolve as each test says."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import pytest

from facet.intake.submitted_urls import SubmittedUrls
from facet.outbound.addresses import AddressRules, UrlRefused
from facet.outbound.egress import Egress, NotAnswered
from tests.support.processes import free_port
from tests.support.scripted import answer, scripted

Names = Callable[..., list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Say what a name resolves to, one list of addresses after the other; returns the names that were looked up."""
    real, asked = socket.getaddrinfo, list[str]()

    def say(name: str, *answers: list[str]) -> list[str]:
        left = list(answers)

        def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:
            if host != name:
                return real(host, port, *args, **options)
            asked.append(host)
            addresses = left.pop(0) if len(left) > 1 else left[0]
            return [entry for a in addresses for entry in real(a, port, *args, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return say


@pytest.fixture
def egress() -> Egress:
    return Egress(AddressRules("127.0.0.1, ::1"), seconds=20)


def impatient() -> Egress:
    return Egress(AddressRules("127.0.0.1"), seconds=0.6)


def test_an_answer_comes_with_its_status_headers_and_body(egress: Egress) -> None:
    with scripted(answer(202, body=b"thanks", Retry_After="7")) as server:
        got = egress.request("POST", f"{server.url}?a=b", headers={"X-Own": "1"}, content=b"{}", max_bytes=100)
    assert (got.status_code, got.body, got.cut, got.headers["retry-after"]) == (202, b"thanks", False, "7")
    [(headers, body)] = server.requests
    assert (headers["host"], headers["x-own"], headers["accept-encoding"]) == (
        f"127.0.0.1:{server.port}",
        "1",
        "identity",
    )
    assert (body, headers["content-length"]) == (b"{}", "2")


def test_a_name_that_turns_private_after_the_check_is_not_connected_to(names: Names) -> None:
    """DNS rebinding: public when it is submitted, loopback when it is called."""
    with scripted(answer()) as server:
        names("rebound.example", ["8.8.8.8"], ["127.0.0.1"])
        rules, url = AddressRules(), f"http://rebound.example:{server.port}/"
        assert anyio.run(SubmittedUrls(rules).refused, [url]) == {}
        with pytest.raises(UrlRefused):
            Egress(rules, seconds=20).request("POST", url, max_bytes=100)
    assert server.requests == []


def test_the_address_that_was_checked_is_the_one_connected_to(names: Names, egress: Egress) -> None:
    """A name that changes between the check at connection and the connection itself would need a second look-up."""
    with scripted(answer()) as allowed, scripted(answer(), host="127.0.0.2") as other:
        assert allowed.port != other.port
        asked = names("rebound.example", ["127.0.0.1"], ["127.0.0.2"])
        egress.request("POST", f"http://rebound.example:{allowed.port}/", max_bytes=100)
        assert asked == ["rebound.example"]
        with pytest.raises(UrlRefused):
            egress.request("POST", f"http://rebound.example:{other.port}/", max_bytes=100)
    assert [headers["host"] for headers, _ in allowed.requests] == [f"rebound.example:{allowed.port}"]
    assert other.requests == []


def test_one_private_address_among_public_ones_is_refused(names: Names) -> None:
    names("mixed.example", ["8.8.8.8", "127.0.0.1"])
    with pytest.raises(UrlRefused):
        Egress(AddressRules(), seconds=5).request("POST", f"http://mixed.example:{free_port()}/", max_bytes=1)


def test_the_next_address_is_tried_when_one_does_not_answer(names: Names, egress: Egress) -> None:
    with scripted(answer()) as server:
        names("two.example", ["::1", "127.0.0.1"])
        assert egress.request("POST", f"http://two.example:{server.port}/", max_bytes=1).status_code == 204


def test_redirects_are_answers_and_proxies_of_the_environment_are_not_used(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with scripted(answer()) as elsewhere, scripted(answer(307, Location=elsewhere.url)) as server:
        assert egress.request("POST", server.url, max_bytes=1).status_code == 307
    assert elsewhere.requests == []


def drip(first: bytes, each: bytes) -> Callable[[socket.socket, Event], None]:
    def script(connection: socket.socket, over: Event) -> None:
        connection.sendall(first)
        with suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(each)

    return script


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda connection, over: over.wait(30), id="silent"),
        pytest.param(drip(b"", b"H"), id="dripping its status line"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), id="dripping headers"),
        pytest.param(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="always about to answer"),
    ],
)
def test_a_receiver_that_gives_no_answer_in_time_is_left(script: Any) -> None:
    with scripted(script) as server, pytest.raises(NotAnswered, match=r"within 0\.6 s"):
        impatient().request("POST", server.url, content=b"{}", max_bytes=2048)
    assert server.requests


def test_an_answer_that_drips_its_body_counts_and_is_cut() -> None:
    with scripted(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x")) as server:
        got = impatient().request("POST", server.url, max_bytes=2048)
    assert (got.status_code, got.cut) == (200, True) and set(got.body) <= set(b"x")


def test_a_huge_answer_is_left_after_its_first_bytes(egress: Egress) -> None:
    sent = []

    def script(connection: socket.socket, over: Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        with suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"y" * 1_000_000)
                sent.append(1)

    with scripted(script) as server:
        got = egress.request("POST", server.url, max_bytes=2048)
    assert (got.body, got.cut) == (b"y" * 2048, True)
    assert len(sent) < 100


def test_endless_headers_are_an_error(egress: Egress) -> None:
    with scripted(drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"b" * 200_000, b"b")) as server, pytest.raises(NotAnswered):
        egress.request("POST", server.url, max_bytes=1)


def test_a_receiver_that_drops_the_connection_after_reading_is_an_error(egress: Egress) -> None:
    with scripted(lambda connection, over: None) as server, pytest.raises(NotAnswered, match="RemoteProtocolError"):
        egress.request("POST", server.url, content=b"{}", max_bytes=1)
    assert len(server.requests) == 1, "and is not silently sent again"


def test_nobody_there_is_an_error(egress: Egress) -> None:
    with pytest.raises(NotAnswered, match="ConnectError"):
        egress.request("POST", f"http://127.0.0.1:{free_port()}/", max_bytes=1)


def test_a_resolver_that_hangs_does_not_take_more_than_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: time.sleep(30))
    with pytest.raises(NotAnswered, match="resolver"):
        impatient().request("POST", "http://hanging.example/", max_bytes=1)


def test_tls_names_and_checks_the_host_of_the_url(names: Names, certificate: Path) -> None:
    asked: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    tls.sni_callback = lambda connection, name, context: asked.append(name)
    rules = AddressRules("127.0.0.1")
    trusting = Egress(rules, seconds=20, ssl_context=ssl.create_default_context(cafile=certificate))
    with scripted(answer(), tls=tls) as server:
        names("secure.example", ["127.0.0.1"])
        assert trusting.request("POST", f"https://secure.example:{server.port}/", max_bytes=1).status_code == 204
        assert asked == ["secure.example"]
        assert server.requests[0][0]["host"] == f"secure.example:{server.port}"
        with pytest.raises(NotAnswered, match="CERTIFICATE_VERIFY_FAILED"):
            trusting.request("POST", f"https://127.0.0.1:{server.port}/", max_bytes=1)
        with pytest.raises(NotAnswered, match="CERTIFICATE_VERIFY_FAILED"):
            Egress(rules, seconds=20).request("POST", f"https://secure.example:{server.port}/", max_bytes=1)
    assert len(server.requests) == 1
