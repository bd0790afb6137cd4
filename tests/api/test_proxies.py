"""The API behind real reverse proxies: what is refused before its body was read arrives, and a path leads to it all."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from facet.client import Client
from facet.principals import KeyScope
from facet.services import Services
from facet.settings import Settings
from tests.support.api import complete
from tests.support.databases import make_tables
from tests.support.serving import HAPROXY, NGINX, documented, haproxy, nginx, serving

Proxy = Callable[[str, Path], AbstractContextManager[int]]
PROXIES = [
    pytest.param(name, marks=pytest.mark.skipif(program is None, reason=f"{name} is not installed"))
    for name, program in (("nginx", NGINX), ("haproxy", HAPROXY))
]
PLAIN: dict[str, tuple[Proxy, str]] = {
    "nginx": (nginx, "client_max_body_size 0; location / {{ proxy_pass http://127.0.0.1:{port}; }}"),
    "haproxy": (haproxy, "frontend f\nbind 127.0.0.1:PORT\ndefault_backend b\nbackend b\nserver s 127.0.0.1:{port}"),
}
SIZES = (50_000, 6_000_000)
TRIES = 6


def new_services(home: Path, **settings: Any) -> Services:
    services = Services(Settings(home=home, max_image_bytes=1_000_000, **settings))
    make_tables(services.database)
    return services


@contextmanager
def behind(proxy: str, services: Services, folder: Path) -> Iterator[str]:
    """The API behind a proxy that is set as it comes; yields the proxy's URL."""
    start, config = PLAIN[proxy]
    with ExitStack() as stack:
        port = stack.enter_context(serving(create_app(services)))
        folder.mkdir()
        yield f"http://127.0.0.1:{stack.enter_context(start(config.format(port=port), folder))}"


def statuses(url: str, size: int, method: str = "POST", **headers: str) -> set[int]:
    """The answers to one upload of so many bytes, again and again."""
    parts = (
        b'--b\r\nContent-Disposition: form-data; name="request_id"\r\n\r\nr',
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + bytes(size),
        b"--b--\r\n",
    )
    headers["Content-Type"] = "multipart/form-data; boundary=b"
    with httpx.Client(timeout=30) as client:
        return {
            client.request(method, url, headers=headers, content=b"\r\n".join(parts)).status_code for _ in range(TRIES)
        }


@pytest.mark.parametrize("proxy", PROXIES)
def test_what_is_refused_before_its_body_was_read_is_told_why(proxy: str, tmp_path: Path) -> None:
    services = new_services(tmp_path / "home")
    key = {"Authorization": f"Bearer {services.keys.create('ada', KeyScope.SUBMIT)}"}
    reading = {"Authorization": f"Bearer {services.keys.create('bob', KeyScope.READ)}"}
    with behind(proxy, services, tmp_path / proxy) as url:
        small, large = SIZES
        for path, headers, status in (
            ("/v1/images", {}, 401),
            ("/v1/images", {"Authorization": "Bearer wrong"}, 401),
            ("/v1/images:batch", reading, 403),
            ("/nothing", key, 404),
            ("/v1/images/", key, 415),
        ):
            assert statuses(url + path, small, **headers) == {status}
        assert statuses(f"{url}/v1/images", small, "PUT", **key) == {405}
        assert statuses(f"{url}/v1/images", large, Authorization="Bearer wrong") == {401}
        assert statuses(f"{url}/v1/images/", large, **key) == {413}


@pytest.mark.parametrize("proxy", PROXIES)
def test_who_asks_too_often_is_told_so_with_the_photo_in_hand(proxy: str, tmp_path: Path) -> None:
    services = new_services(tmp_path / "home", rate_limit=1)
    key = {"Authorization": f"Bearer {services.keys.create('ada', KeyScope.SUBMIT)}"}
    with behind(proxy, services, tmp_path / proxy) as url:
        httpx.get(f"{url}/v1/images", headers=key)
        for size in SIZES:
            assert statuses(f"{url}/v1/images", size, **key) == {429}


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_page_of_another_site_is_refused_with_a_photo_too(proxy: str, tmp_path: Path) -> None:
    with behind(proxy, new_services(tmp_path / "home"), tmp_path / proxy) as url:
        for size in SIZES:
            assert statuses(f"{url}/v1/images", size, Origin="https://evil.example") == {403}


TAKEN_OFF = {
    "nginx": ("proxy_pass http://127.0.0.1:8000;", "proxy_pass http://127.0.0.1:8000/;"),
    "haproxy": ("    option forwardfor\n", "    option forwardfor\n    http-request replace-path ^/facet/?(.*) /\\1\n"),
}


@pytest.fixture(params=["passed on", "taken off"])
def prefixed(request: pytest.FixtureRequest, proxy: str, tmp_path: Path) -> Iterator[tuple[str, Services, str]]:
    """The URL of the API under a path, behind a proxy that is set as the documentation says; its services; a key."""
    config = documented(proxy)
    if request.param == "taken off":
        assert TAKEN_OFF[proxy][0] in config
        config = config.replace(*TAKEN_OFF[proxy])
    services = new_services(tmp_path / "home", public_url="https://example.com/facet", rate_limit_address=60)
    key = services.keys.create("ada", KeyScope.SUBMIT)
    assert services.links.ensure_secret()
    with serving(create_app(services)) as port:
        config = config.replace("bind :8080", "bind 127.0.0.1:PORT").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        with PLAIN[proxy][0](config, tmp_path) as at:
            yield f"http://127.0.0.1:{at}/facet", services, key


@pytest.mark.parametrize("proxy", PROXIES)
def test_under_a_path_all_of_it_works(prefixed: tuple[str, Services, str], photo: bytes) -> None:
    url, services, key = prefixed

    def here(link: str) -> str:
        assert link.startswith("https://example.com/facet/"), link
        return link.replace("https://example.com/facet", url)

    with Client(url, api_key=key) as client, httpx.Client(timeout=30) as browser:
        sent = client.submit(("photo.jpg", photo + bytes(400_000)), request_id="r")
        complete(services, sent["id"])
        image = client.image(sent["id"])
        browser.headers["Authorization"] = f"Bearer {key}"
        assert browser.get(here(image["links"]["original"])).content == client.original(sent["id"])
        assert browser.get(here(services.links.annotated(UUID(sent["id"])))).status_code == 200
        answer = browser.post(f"{url}/v1/images/", files={"image": ("p.jpg", photo)}, data={"request_id": "s"})
        assert answer.status_code == 202 and browser.get(here(answer.headers["location"])).status_code == 200
        for page in ("/", "/gallery", "/image", "/docs"):
            answer = browser.get(url + page)
            names = re.findall(r"""(?:src|href|url: )[=']["']?(/[^"']*)""", answer.text)
            assert answer.status_code == 200 and names and "set-cookie" not in answer.headers
            for name in names:
                assert name.startswith("/facet/"), name
                assert browser.get(url + name.removeprefix("/facet")).status_code == 200, name
        [server] = browser.get(f"{url}/openapi.json").json()["servers"]
        assert browser.get(f"{url.removesuffix('/facet')}{server['url']}/v1/images").status_code == 200
        for path in ("/metrics", "/metrics/", "/%6Detrics"):
            assert browser.get(url + path).status_code == 404, path


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_client_cannot_choose_the_address_that_is_limited(prefixed: tuple[str, Services, str]) -> None:
    url, _, _ = prefixed
    with httpx.Client() as browser:
        said = [
            browser.get(f"{url}/readyz", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
            for number in range(70)
        ]
    assert 429 in said
