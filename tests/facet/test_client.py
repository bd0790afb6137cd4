"""The client against an API that is scripted; against the real one in tests/cli."""

import asyncio
import base64
import inspect
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from facet.client import ApiError, AsyncClient, Client, NoResult, WebhookVerificationError, verify_callback
from facet.signing import Signer
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
        assert client.submit(photo, request_id="r", annotate="none") == {"id": "1"}
        assert time.monotonic() - begun >= 2
        client.close()
    (first, body), (second, _) = server.requests
    assert first["idempotency-key"] == second["idempotency-key"]
    assert first["authorization"] == "Bearer secret"
    assert b"picture" in body and b"none" in body


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


def images(*rows: tuple[str, str]) -> bytes:
    failure = {"code": "undecodable", "reason": "It does not decode."}
    listed = [
        {"id": name, "request_id": name, "status": status, "failure": failure if status == "failed" else None}
        for name, status in rows
    ]
    return json.dumps({"images": listed, "next_cursor": None}).encode()


def test_images_are_waited_for_together_and_handed_out_in_order() -> None:
    turns = [images(("a", "processing"), ("b", "completed")), images(("a", "completed"))]

    def script(connection, over):  # type: ignore[no-untyped-def]
        answer(200, body=turns[len(server.requests) - 1])(connection, over)

    with scripted(script) as server, Client(server.url.removesuffix("/callback")) as client:
        assert [image["id"] for image in client.wait(["a", "b"])] == ["a", "b"]
        assert len(server.requests) == 2


def test_waiting_ends_at_its_time_and_for_what_is_not_there() -> None:
    queued = answer(200, body=images(("a", "queued")))
    with scripted(queued) as server, Client(server.url.removesuffix("/callback")) as client:
        with pytest.raises(TimeoutError, match="still queued"):
            client.result("a", seconds=0.1)
        with pytest.raises(ApiError, match="no image gone"):
            list(client.wait(["gone"]))


def test_an_image_without_a_result_says_why() -> None:
    failed = answer(200, body=images(("a", "failed")))
    with scripted(failed) as server:
        client = Client(server.url.removesuffix("/callback"))
        with pytest.raises(NoResult, match="does not decode"):
            client.result("a")
        client.close()


def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"picture")
    turns = [
        answer(503, Retry_After="1"),
        answer(202, body=ACCEPTED),
        answer(200, body=images(("1", "processing"))),
        answer(200, body=images(("1", "completed"))),
        answer(200, body=json.dumps({"deliveries": [{"id": "d"}], "next_cursor": None}).encode()),
        answer(404, body=PROBLEM),
    ]

    def script(connection, over):  # type: ignore[no-untyped-def]
        turns[len(server.requests) - 1](connection, over)

    async def use() -> None:
        async with AsyncClient(server.url.removesuffix("/callback"), api_key="secret") as client:
            accepted = await client.submit(photo, request_id="r")
            assert (await client.result(accepted["id"]))["status"] == "completed"
            assert [delivery["id"] async for delivery in client.deliveries()] == ["d"]
            assert await client.annotated("1") is None

    with scripted(script) as server:
        asyncio.run(use())
    assert len(server.requests) == len(turns)
    assert server.requests[0][0]["idempotency-key"] == server.requests[1][0]["idempotency-key"]
    assert server.requests[0][0]["authorization"] == "Bearer secret"


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        functions = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(function).parameters) for name, function in functions if name[0] != "_"}

    assert public(Client) == public(AsyncClient)


SECRETS = ["whsec_" + base64.b64encode(bytes([number]) * 24).decode() for number in range(3)]


def test_a_callback_is_verified_by_any_of_the_secrets_and_nothing_else() -> None:
    body = b'{"request_id": "r", "faces": []}'
    headers = Signer(SecretStr(",".join(SECRETS[:2]))).headers("e-1", datetime.now(UTC), body.decode())
    shouted = {name.upper(): value for name, value in headers.items()}
    assert verify_callback(body, shouted, SECRETS[2], SECRETS[1])["request_id"] == "r"
    stale = Signer(SecretStr(SECRETS[0])).headers("e-1", datetime.now(UTC) - timedelta(hours=1), body.decode())
    forged = [
        (body, headers, SECRETS[2:]),
        (body, headers, []),
        (body + b" ", headers, SECRETS),
        (b"\xff", headers, SECRETS),
        (body, stale, SECRETS),
        (body, {}, SECRETS),
        (body, headers | {"webhook-signature": "v1"}, SECRETS),
        (body, headers | {"webhook-signature": "v1,§"}, SECRETS),
        (body, headers | {"webhook-timestamp": "now"}, SECRETS),
    ]
    for data, sent, secrets in forged:
        with pytest.raises(WebhookVerificationError):
            verify_callback(data, sent, *secrets)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9"])
def test_an_api_on_this_machine_is_asked_through_no_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name)
    for name in ("ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy)

    async def ask(url: str) -> dict[str, Any]:
        async with AsyncClient(url, patience=0) as client:
            return dict(await client.image("1"))

    with scripted(answer(200, body=ACCEPTED)) as server:
        url = server.url.removesuffix("/callback")
        with Client(url, patience=0) as client:
            assert client.image("1") == {"id": "1"}
        assert asyncio.run(ask(url)) == {"id": "1"}
