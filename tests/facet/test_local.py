"""What runs on this machine is asked here, whatever address it listens on and whatever proxy is set."""

import os
from collections.abc import Iterator
from urllib.request import proxy_bypass

import httpx
import pytest

from facet.local import is_loopback, listens, spare_proxies
from facet.settings import Settings
from tests.support.processes import free_port
from tests.support.receiver import serving

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def server() -> Iterator[str]:
    """The `host:port` of an HTTP server that answers 204."""
    with serving(lambda body: 204) as url:
        yield url.removeprefix("http://").removesuffix("/callback")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")],
        *[(host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "facet.example", "", "localhost.evil.example")],
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "asked", "link"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:8000", "http://[::1]:8000"),
        ("fe80::1%eth0", "http://[fe80::1%eth0]:8000", "http://[fe80::1%25eth0]:8000"),
        ("localhost", "http://localhost:8000", "http://localhost:8000"),
        ("facet.example", "http://facet.example:8000", "http://facet.example:8000"),
    ],
)
def test_what_listens_is_asked_at_an_address_and_links_are_urls(host: str, asked: str, link: str) -> None:
    settings = Settings(host=host)
    assert (settings.local_url, settings.base_url) == (asked, link)
    public = Settings(host=host, public_url="https://photos.example.com/facet/")
    assert (public.local_url, public.base_url) == (asked, "https://photos.example.com/facet")


def test_whether_something_listens(server: str) -> None:
    port = int(server.rpartition(":")[2])
    assert listens("0.0.0.0", port) and listens("127.0.0.1", port)
    assert not listens("127.0.0.1", free_port())


@pytest.mark.parametrize(
    ("name", "proxy", "listed"),
    [
        ("HTTP_PROXY", NOBODY, None),
        ("http_proxy", "127.0.0.1:9", "photos.example.com"),
        ("ALL_PROXY", NOBODY, "photos.example.com"),
        ("all_proxy", "socks5h://127.0.0.1:9", None),
        ("ALL_PROXY", "socks://127.0.0.1:9", None),
    ],
)
def test_no_proxy_stands_before_this_machine(
    server: str, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str, listed: str | None
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv(name, proxy)
    if listed:
        monkeypatch.setenv("no_proxy" if name.islower() else "NO_PROXY", listed)
    spare_proxies("10.0.0.5")
    assert httpx.post(f"http://{server}", json={}).status_code == 204
    for host in ("localhost", "::1", "10.0.0.5"):
        assert host in os.environ["NO_PROXY"].split(",") and proxy_bypass(f"{host}:4200")
    assert bool(proxy_bypass("photos.example.com:80")) is bool(listed)


def test_a_proxy_stands_before_what_is_elsewhere(monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", f"http://{server}")
    spare_proxies("127.0.0.1")
    assert httpx.post("http://photos.invalid/", json={}).status_code == 204


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
        monkeypatch.setenv(name.upper(), "")
        monkeypatch.delenv(name.upper())
