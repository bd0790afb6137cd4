"""The client against an API that is scripted; against the real one in tests/cli."""

import json
import time
from pathlib import Path

import pytest

from facet.client import ApiError, Client
from tests.support.processes import free_port
from tests.support.scripted import answer, scripted

ACCEPTED = json.dumps({"id": "1"}).encode()
PROBLEM = json.dumps({"code": "invalid", "detail": "image: too odd."}).encode()


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_api_is_asked_again_as_late_as_it_says_under_the_same_key(tmp_path: Path, status: int) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"picture")

    def script(connection, over):  # type: ignore[no-untyped-def]
        first = len(server.requests) == 1
        (answer(status, Retry_After="2") if first else answer(202, body=ACCEPTED))(connection, over)

    with scripted(script) as server:
        client, begun = Client(server.url.removesuffix("/callback"), api_key="secret"), time.monotonic()
        assert client.submit(photo, request_id="r", annotate=False) == {"id": "1"}
        assert time.monotonic() - begun >= 2
        client.close()
    (first, body), (second, _) = server.requests
    assert first["idempotency-key"] == second["idempotency-key"]
    assert first["authorization"] == "Bearer secret"
    assert b"picture" in body and b"false" in body


def test_a_url_is_sent_as_json() -> None:
    with scripted(answer(202, body=ACCEPTED)) as server:
        client = Client(server.url.removesuffix("/callback"))
        client.submit("https://example.com/a.jpg", request_id="r", min_confidence=0.5)
        client.close()
    [(headers, body)] = server.requests
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"image_url": "https://example.com/a.jpg", "request_id": "r", "min_confidence": 0.5}


def test_what_is_refused_is_said_in_the_apis_words_and_not_tried_again() -> None:
    with scripted(answer(422, body=PROBLEM)) as server:
        client = Client(server.url.removesuffix("/callback"))
        with pytest.raises(ApiError, match=r"image: too odd\.") as caught:
            client.submit("https://example.com/a.jpg", request_id="r")
        client.close()
    assert (caught.value.code, caught.value.status, len(server.requests)) == ("invalid", 422, 1)


def test_an_api_that_stays_away_is_given_up_after_the_clients_patience() -> None:
    client = Client(f"http://127.0.0.1:{free_port()}", patience=1.5)
    with pytest.raises(ApiError) as caught:
        client.image("1")
    assert caught.value.code == "not-reachable"
    client.close()


def test_lists_are_followed_page_by_page() -> None:
    def script(connection, over):  # type: ignore[no-untyped-def]
        last = len(server.requests) == 2
        page = {"images": [{"id": str(len(server.requests))}], "next_cursor": None if last else "more"}
        answer(200, body=json.dumps(page).encode())(connection, over)

    with scripted(script) as server:
        client = Client(server.url.removesuffix("/callback"))
        assert [image["id"] for image in client.images(status=None)] == ["1", "2"]
        client.close()
