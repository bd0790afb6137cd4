"""Signed links: what a browser sees without a key, and nothing besides."""

import json
import os
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from facet.access.signed_links import BadLink, Links
from facet.principals import KeyScope
from facet.services import Services
from facet.settings import Settings
from tests.api.test_access import Sender
from tests.support.api import assert_problem
from tests.support.databases import make_tables

SECRET = "s" * 32


@pytest.fixture
def services(tmp_path: Path) -> Services:
    services = Services(Settings(home=tmp_path, link_secret=SECRET, outbound_allow="127.0.0.1"))  # type: ignore[arg-type]
    make_tables(services.database)
    return services


@pytest.fixture
def sender(services: Services) -> Sender:
    sender = Sender(create_app(services), services.keys.create("ada", KeyScope.SUBMIT))
    sender.send_and_end(services, "r-1")
    return sender


@pytest.fixture
def browser(sender: Sender) -> TestClient:
    return Sender(sender.client.app, "").client  # type: ignore[arg-type]


def test_the_callbacks_link_shows_the_picture_to_a_browser(sender: Sender, browser: TestClient) -> None:
    body = sender.client.get(f"/v1/deliveries/{sender.ids['delivery_id']}").json()["body"]
    answer = browser.get(json.loads(body)["output_image_url"])
    assert (answer.status_code, answer.content) == (200, b"\xff\xd8drawn")
    assert answer.headers["content-type"] == "image/jpeg" and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'inline; filename="{sender.ids["image_id"]}.jpg"'
    assert "private" in answer.headers["cache-control"] and answer.headers["referrer-policy"] == "no-referrer"


def test_a_link_is_of_one_picture_until_its_time(sender: Sender, browser: TestClient, services: Services) -> None:
    other = sender.send("r-2").json()["id"]
    url = urlsplit(services.links.annotated(UUID(sender.ids["image_id"])))
    query = dict(parse_qsl(url.query))
    assert browser.get(url.path, params=query).status_code == 200
    assert_problem(browser.get(url.path.replace(sender.ids["image_id"], other), params=query), 403, "bad-link")
    for change in (
        {"expires": str(int(query["expires"]) + 1)},
        {"signature": query["signature"][:-2] + "AA"},
        {"signature": ""},
        {"signature": "é"},
    ):
        assert_problem(browser.get(url.path, params=query | change), 403, "bad-link")
    assert_problem(browser.get(url.path, params={"expires": query["expires"]}), 422, "invalid", "signature")
    for path in ("", "/original", "/annotated"):
        assert_problem(browser.get(f"/v1/images/{sender.ids['image_id']}{path}", params=query), 401, "no-key")


def test_an_expired_link_shows_nothing(sender: Sender, browser: TestClient, services: Services) -> None:
    past = Links(services.settings.model_copy(update={"link_ttl": -1}))
    answer = browser.get(past.annotated(UUID(sender.ids["image_id"])))
    assert "with a key" in assert_problem(answer, 403, "expired-link")["detail"]


def test_another_secret_signs_nothing(sender: Sender, browser: TestClient, services: Services) -> None:
    foreign = Links(Settings(home=services.settings.home, link_secret="x" * 32))  # type: ignore[arg-type]
    assert_problem(browser.get(foreign.annotated(UUID(sender.ids["image_id"]))), 403, "bad-link")


def test_a_link_to_a_removed_picture_is_404(sender: Sender, browser: TestClient, services: Services) -> None:
    url = services.links.annotated(UUID(sender.ids["image_id"]))
    sender.client.delete(f"/v1/images/{sender.ids['image_id']}")
    assert_problem(browser.get(url), 404, "unknown-image")


def test_where_no_key_is_configured_links_are_plain(tmp_path: Path) -> None:
    image_id = uuid4()
    assert Links(Settings(home=tmp_path)).annotated(image_id) == f"http://127.0.0.1:8000/v1/images/{image_id}/annotated"
    with pytest.raises(BadLink):
        Links(Settings(home=tmp_path)).check(image_id, 10**11, "")


def test_the_embedded_stacks_secret_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    image_id = uuid4()
    worker, api = Links(Settings(home=tmp_path)), Links(Settings(home=tmp_path))
    assert "signature" not in worker.annotated(image_id)
    assert api.ensure_secret() and api.ensure_secret()
    [file] = tmp_path.iterdir()
    assert os.stat(file).st_mode & 0o777 == 0o600 and len(file.read_text()) >= 40
    query = dict(parse_qsl(urlsplit(worker.annotated(image_id)).query))  # which was running when it was made
    api.check(image_id, int(query["expires"]), query["signature"])


def test_where_machines_share_a_database_the_secret_must_be_set(tmp_path: Path) -> None:
    assert not Links(Settings(home=tmp_path, database_url="postgresql+psycopg2://h/d")).ensure_secret()
    assert list(tmp_path.iterdir()) == []
