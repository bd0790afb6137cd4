"""Images by URL and in batches, and bodies that are too large, while they stream in."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.body_limits import FIELDS
from facet.intake.submitted_urls import SubmittedUrls
from facet.services import Services
from tests.support.api import assert_problem, claim
from tests.support.images import picture
from tests.support.processes import wait_for
from tests.support.serving import serving

URL = "http://127.0.0.1:9/photo.jpg"


def listed(client: TestClient) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = client.get("/v1/images").json()["images"]
    return images


def test_an_image_by_url_is_accepted_and_waits_to_be_fetched(client: TestClient, services: Services) -> None:
    answer = client.post("/v1/images", json={"image_url": URL, "request_id": "r-1", "min_face_size": 40})
    assert answer.status_code == 202
    image = client.get(answer.headers["location"]).json()
    assert (image["status"], image["image_url"], image["min_face_size"]) == ("queued", URL, 40)
    assert (image["media_type"], image["size_bytes"], image["width"], image["filename"]) == (None, None, None, None)
    assert_problem(client.get(f"/v1/images/{image['id']}/original"), 404, "not-yet")
    assert list(services.store.keys("images/")) == []
    job = claim(services, image["id"])
    assert (job.image_url, job.original_key) == (URL, f"images/{image['id']}/original-1")


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"request_id": "r"}, "image_url", "invalid"),
        ({"image_url": URL}, "request_id", "invalid"),
        ({"image_url": "ftp://example.org/x", "request_id": "r"}, "image_url", "invalid"),
        ({"image_url": "http://10.0.0.1/x", "request_id": "r"}, "image_url", "address-refused"),
        ({"image_url": "http://169.254.169.254/", "request_id": "r"}, "image_url", "address-refused"),
        ({"image_url": "file:///etc/passwd", "request_id": "r"}, "image_url", "invalid"),
        ({"image_url": URL, "callback_url": "http://10.0.0.1/", "request_id": "r"}, "callback_url", "address-refused"),
        ({"image_url": URL, "request_id": "r", "min_confidense": 0.5}, "min_confidense", "invalid"),
        ({"image_url": URL, "request_id": "a\ud800"}, "request_id", "invalid"),
    ],
)
def test_a_wrong_field_of_json_is_named(client: TestClient, body: dict[str, Any], field: str, code: str) -> None:
    answer = client.post("/v1/images", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, code, field)
    assert listed(client) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 50_000, b"[]", b"null", b"7"])
def test_what_is_no_json_object_is_422(client: TestClient, content: bytes) -> None:
    for path in ("/v1/images", "/v1/images:batch"):
        answer = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert_problem(answer, 422, "invalid")


def test_a_batch_of_files_has_a_result_for_each(client: TestClient, services: Services, photo: bytes) -> None:
    files = [("image", (name, data)) for name, data in [("a.jpg", photo), ("b", b"hello"), ("c.png", picture())]]
    answer = client.post("/v1/images:batch", files=files, data={"request_id": "all", "min_face_size": "30"})
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 415, 202]
    assert results[1]["image"] is None and results[1]["problem"]["code"] == "not-a-picture"
    assert results[0]["problem"] is None and results[0]["image"]["request_id"] == "all"
    assert {image["filename"] for image in listed(client)} == {"a.jpg", "c.png"}
    assert {image["min_face_size"] for image in listed(client)} == {30}
    assert len(list(services.store.keys("images/"))) == 2
    named = client.post("/v1/images:batch", files=files, data={"request_id": ["x", "y", "z"]}).json()["results"]
    assert [named[0]["image"]["request_id"], named[2]["image"]["request_id"]] == ["x", "z"]


def test_a_batch_of_urls_judges_each_by_itself(client: TestClient) -> None:
    good = {"image_url": URL, "request_id": "r"}
    bad = [{"image_url": "http://10.0.0.1/", "request_id": "r"}, {"image_url": URL}, 7, {"request_id": "r", "image": 1}]
    answer = client.post("/v1/images:batch", json={"images": [good, *bad, good | {"annotate": False}]})
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 422, 422, 422, 422, 202]
    assert results[1]["problem"]["errors"][0]["field"] == "image_url"
    wanted = {image["id"]: image["annotate"] for image in listed(client)}
    assert [wanted[results[number]["image"]["id"]] for number in (0, 5)] == ["boxes", "none"]


def test_a_batch_has_a_limit(client: TestClient) -> None:
    item = {"image_url": URL, "request_id": "r"}
    for images in ([], [item] * 101):
        assert_problem(client.post("/v1/images:batch", json={"images": images}), 422, "invalid", "images")
    files = [("image", ("a", b"x"))] * 101
    assert_problem(client.post("/v1/images:batch", files=files, data={"request_id": "r"}), 422, "invalid", "image")
    assert client.post("/v1/images:batch", files=[*files, *files], data={"request_id": "r"}).status_code == 400
    two = [("image", ("a", b"x"))] * 3
    answer = client.post("/v1/images:batch", files=two, data={"request_id": ["r", "s"]})
    assert_problem(answer, 422, "invalid", "request_id")
    assert len(client.post("/v1/images:batch", json={"images": [item] * 100}).json()["results"]) == 100


@dataclass
class Silence:
    """A resolver that says nothing of any `….slow.example` until it is over."""

    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    real, silence = socket.getaddrinfo, Silence()

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".slow.example"):
            return real(host, *args, **options)
        silence.asked.append(host)
        silence.over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "said nothing")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield silence
    silence.over.set()


def test_a_batch_of_hosts_that_cannot_be_resolved_now_waits_once_for_all(
    client: TestClient, services: Services, silence: Silence
) -> None:
    services.submitted_urls = SubmittedUrls(services.addresses, seconds=0.3)
    urls = [*(f"http://{number}.slow.example/" for number in range(99)), "http://10.0.0.1/"]
    body = {"images": [{"image_url": url, "request_id": "r"} for url in urls]}
    results = client.post("/v1/images:batch", json=body).json()["results"]
    assert [result["status"] for result in results] == [202] * 99 + [422]
    assert results[-1]["problem"]["code"] == "address-refused"
    assert 0 < len(silence.asked) <= 8, "what waits for a resolver are few threads"


def test_the_hosts_of_a_request_are_looked_up_once(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look_up(host: str) -> list[Any]:
        asked.append(host)
        return [ip_address("8.8.8.8" if host == "good.example" else "10.0.0.1")]

    monkeypatch.setattr("facet.intake.submitted_urls.look_up", look_up)
    item = {"image_url": "http://good.example/x", "callback_url": "https://good.example/y", "request_id": "r"}
    results = client.post("/v1/images:batch", json={"images": [item] * 50 + [item | {"image_url": "http://b/"}]}).json()
    assert [result["status"] for result in results["results"]] == [202] * 50 + [422]
    assert sorted(asked) == ["b", "good.example"]


def test_while_names_are_resolved_everyone_else_is_answered(server: int, services: Services, silence: Silence) -> None:
    services.submitted_urls = SubmittedUrls(services.addresses, seconds=3600)
    with ExitStack() as stack:
        waiting = []
        for number in range(50):  # more than there are threads for requests
            body = json.dumps({"image_url": f"http://{number}.slow.example/", "request_id": "r"}).encode()
            head = b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            waiting.append(stack.enter_context(socket.create_connection(("127.0.0.1", server), timeout=20)))
            waiting[-1].sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: len(silence.asked) == 8, 20, "names are being resolved")
        url = f"http://127.0.0.1:{server}/v1/images"
        assert httpx.get(url, timeout=20).status_code == 200
        assert httpx.post(url, json={"image_url": URL, "request_id": "r"}, timeout=20).status_code == 202
        silence.over.set()
        assert {connection.recv(12) for connection in waiting} == {b"HTTP/1.1 202"}


def test_a_key_covers_a_batch_and_a_url(client: TestClient, services: Services) -> None:
    files = [("image", ("a.png", picture())), ("image", ("b", b"hello"))]

    def send(key: str, **options: Any) -> httpx.Response:
        path = "/v1/images" if "json" in options else "/v1/images:batch"
        answer: httpx.Response = client.post(path, headers={"Idempotency-Key": key}, **options)
        return answer

    first, again = (send("k", files=files, data={"request_id": "r"}) for _ in range(2))
    assert first.content == again.content and again.headers["idempotency-replayed"] == "true"
    assert [result["status"] for result in again.json()["results"]] == [202, 415]
    assert_problem(send("k", files=files[::-1], data={"request_id": "r"}), 422, "key-reused", "Idempotency-Key")
    assert len(listed(client)) == len(list(services.store.keys("images/"))) == 1
    body = {"image_url": URL, "request_id": "r"}
    first, again = (send("u", json=body) for _ in range(2))
    assert first.content == again.content and first.status_code == 202
    assert_problem(send("u", json=body | {"annotate": False}), 422, "key-reused", "Idempotency-Key")
    assert len(listed(client)) == 2


def test_a_batch_that_cannot_be_committed_leaves_no_image(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.store, "put", lambda *args: (_ for _ in ()).throw(OSError("no")))
    body = {"files": [("image", ("a.png", picture()))], "data": {"request_id": "r"}}
    assert client.post("/v1/images:batch", headers={"Idempotency-Key": "k"}, **body).status_code == 500
    monkeypatch.undo()
    assert listed(client) == []
    assert client.post("/v1/images:batch", headers={"Idempotency-Key": "k"}, **body).status_code == 202


def test_a_filename_is_kept_as_data_and_never_used(client: TestClient, services: Services) -> None:
    name = "../../etc/<b>pass\u202ewd\x1b[2J\x00.png"
    answer = client.post("/v1/images", files={"image": (name, picture())}, data={"request_id": "r"})
    image = client.get(answer.headers["location"]).json()
    assert image["filename"].startswith("../../etc/<b>pass") and image["filename"].isprintable()
    assert list(services.store.keys("images/")) == [f"images/{image['id']}/original"]
    original = client.get(image["links"]["original"])
    assert original.headers["content-disposition"] == f'inline; filename="{image["id"]}.png"'
    assert (original.headers["content-type"], original.headers["x-content-type-options"]) == ("image/png", "nosniff")


def test_forms_have_few_and_short_fields(client: TestClient) -> None:
    file = {"image": ("a.png", picture())}
    many = {f"field-{number}": "x" for number in range(FIELDS + 1)}
    for data in ({"request_id": "x" * 9000}, many):
        assert_problem(client.post("/v1/images", files=file, data=data), 400, "bad-request")
    headers = "\r\n".join(
        ["--b", 'Content-Disposition: form-data; name="request_id"', *["X: y"] * 100, "", "r", "--b--"]
    )
    answer = client.post("/v1/images", content=headers, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert_problem(answer, 400, "bad-request")


@pytest.fixture
def server(services: Services, tmp_path: Any) -> Iterator[int]:
    """A real HTTP server; 100 kB a file."""
    settings = services.settings.model_copy(update={"max_image_bytes": 100_000})
    services.settings = settings
    with serving(create_app(services)) as port:
        yield port


def exchange(port: int, *parts: bytes, finish: bool = True) -> bytes:
    """What a raw client gets that sends these parts."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while b"}" not in answer and (data := connection.recv(65_536)):
            answer += data
    return answer


HEAD = b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(server: int) -> None:
    said = exchange(server, HEAD + b"Content-Length: 999999999\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413") and b'"code":"too-large"' in said


def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(server: int) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    chunks = b"%x\r\n%s\r\n" % (len(part), part) + b"10000\r\n" + bytes(65_536) + b"\r\n"
    more = b"".join(b"10000\r\n" + bytes(65_536) + b"\r\n" for _ in range(4))
    said = exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunks, more)  # the end never comes
    assert said.startswith(b"HTTP/1.1 413") and b"231072 bytes" in said


def test_a_client_that_sends_on_still_gets_the_answer(server: int) -> None:
    url = f"http://127.0.0.1:{server}/v1/images"
    for size in (300_000, 8_000_000):
        answer = httpx.post(url, files={"image": ("a", bytes(size))}, data={"request_id": "r"}, timeout=30)
        assert_problem(answer, 413, "too-large")
    answer = httpx.post(url, files={"image": ("a", bytes(150_000))}, data={"request_id": "r"})
    assert_problem(answer, 413, "too-large", "image")
    other = httpx.post(f"http://127.0.0.1:{server}/v1/deliveries/x/redeliver", content=bytes(500_000))
    assert other.status_code in (413, 422)
    assert_problem(httpx.post(url, json={"image_url": "x" * 200_000, "request_id": "r"}), 413, "too-large")


def test_who_waits_to_be_asked_for_the_body_is_answered_instead(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.early_answers._PAUSE_SECONDS", 3600.0)
    head = b"POST /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 9000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        connection.sendall(head)
        said = b"".join(iter(lambda: connection.recv(65_536), b""))  # until the server closes
    assert said.startswith(b"HTTP/1.1 404") and b"connection: close" in said.lower() and b"100 Continue" not in said


def test_who_waits_to_be_asked_for_a_photo_is_asked(server: int) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nhello\r\n--b--\r\n'
    with socket.create_connection(("127.0.0.1", server), timeout=20) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(part))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100")
        connection.sendall(part)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 422")


def test_http_1_0_is_answered_too(server: int) -> None:
    said = exchange(
        server, b"POST /nothing HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 500000\r\n\r\n", bytes(500_000)
    )
    assert said.startswith(b"HTTP/1.1 404")
