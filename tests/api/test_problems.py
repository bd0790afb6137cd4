"""Every refusal names the field that is at fault and how to mend it; HTTP is read as its RFCs have it."""

import base64
import gzip
import json
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from tests.support.api import assert_problem
from tests.support.images import picture

UNKNOWN = str(uuid4())
MEND = ("Add", "Ask", "Check", "Leave", "Let", "Name", "Send", "Submit", "Try", "Use", "/docs lists")


def part(name: str, data: bytes, disposition: str = "", headers: str = "") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{disposition}\r\n{headers}\r\n'
    return head.encode() + data + b"\r\n"


def form(*parts: bytes, media_type: str = "multipart/form-data; boundary=b") -> dict[str, Any]:
    return {"content": b"".join(parts) + b"--b--\r\n", "headers": {"Content-Type": media_type}}


def link(**fields: Any) -> dict[str, Any]:
    return {"json": {"image_url": "http://127.0.0.1:9/x", "request_id": "r"} | fields}


FILE = part("image", picture(), '; filename="a.png"')
ID = part("request_id", b"r")
JSON = {"Content-Type": "application/json"}
GZIP, MULTIPART = {"Content-Encoding": "identity, GZip"}, "multipart/form-data; boundary=b"
PACKED = gzip.compress(b'{"image_url": "http://127.0.0.1:9/x", "request_id": "r"}')
DIGITS = b'{"request_id": ' + b"9" * 5000 + b"}"
PATHS = ("/v1/images", "/v1/images:batch", "/v1/reprocessings")

CASES: list[tuple[str, str, dict[str, Any], int, str | None]] = [
    # forms
    ("POST", "/v1/images", form(ID), 422, "image"),
    ("POST", "/v1/images", form(FILE), 422, "request_id"),
    ("POST", "/v1/images", form(part("image", b"", '; filename=""'), ID), 422, "image"),
    ("POST", "/v1/images", form(part("image", b"", '; filename="a.jpg"'), ID), 415, "image"),
    ("POST", "/v1/images", form(part("image", b"hello", '; filename="a.jpg"'), ID), 415, "image"),
    ("POST", "/v1/images", form(part("image", base64.b64encode(picture() * 90)), ID), 415, "image"),
    ("POST", "/v1/images", form(FILE, part("request_id", b"x" * 9000)), 400, "request_id"),
    ("POST", "/v1/images", form(FILE, FILE, ID), 400, "image"),
    ("POST", "/v1/images", form(FILE, *(part(f"f{n}", b"x") for n in range(20))), 400, "body"),
    ("POST", "/v1/images", form(FILE, ID, media_type="multipart/form-data"), 400, "Content-Type"),
    ("POST", "/v1/images", form(FILE, ID, media_type="multipart/form-data; boundary=other"), 400, "body"),
    ("POST", "/v1/images", form(b"--b\r\nX: y\r\n\r\nhello\r\n"), 400, "Content-Disposition"),
    ("POST", "/v1/images", form(b"--b\r\n\x00: y\r\n\r\nhello\r\n"), 400, "body"),
    ("POST", "/v1/images", form(FILE, ID, media_type="text/plain"), 415, "Content-Type"),
    ("POST", "/v1/images", {"content": picture(), "headers": {"Content-Type": "image/png"}}, 415, "Content-Type"),
    ("POST", "/v1/images", {"content": picture()}, 415, "Content-Type"),
    ("POST", "/v1/images", {"data": {"image": "x", "request_id": "r"}}, 422, "image"),
    ("POST", "/v1/images", {"data": {"image": "x" * 9000}}, 400, "body"),
    ("POST", "/v1/images:batch", {"content": b"x"}, 415, "Content-Type"),
    ("POST", "/v1/images:batch", form(FILE, FILE, FILE, ID, ID), 422, "request_id"),
    ("POST", "/v1/images:batch", form(ID), 422, "image"),
    ("POST", "/api/image/", form(FILE, ID), 422, "callback_url"),
    # fields
    ("POST", "/v1/images", form(FILE, ID, part("min_confidence", b"2")), 422, "min_confidence"),
    ("POST", "/v1/images", form(FILE, ID, part("min_confidence", b"much")), 422, "min_confidence"),
    ("POST", "/v1/images", form(FILE, ID, part("min_confidence", b"nan")), 422, "min_confidence"),
    ("POST", "/v1/images", form(FILE, ID, part("min_face_size", b"1.5")), 422, "min_face_size"),
    ("POST", "/v1/images", form(FILE, ID, part("min_face_size", b"5")), 422, "min_face_size"),
    ("POST", "/v1/images", form(FILE, ID, part("annotate", b"circles")), 422, "annotate"),
    ("POST", "/v1/images", form(FILE, ID, part("callback_url", b"ftp://x/")), 422, "callback_url"),
    ("POST", "/v1/images", form(FILE, part("request_id", b"a\nb")), 422, "request_id"),
    ("POST", "/v1/images", form(FILE, part("request_id", b"x" * 300)), 422, "request_id"),
    ("POST", "/v1/images", link(request_id=""), 422, "request_id"),
    ("POST", "/v1/images", link(request_id=7), 422, "request_id"),
    ("POST", "/v1/images", link(image_url=None), 422, "image_url"),
    ("POST", "/v1/images", link(image_url="http://10.0.0.1/"), 422, "image_url"),
    ("POST", "/v1/images", link(min_confidense=1), 422, "min_confidense"),
    ("POST", "/v1/images", link() | {"headers": {"Idempotency-Key": "a b"}}, 422, "Idempotency-Key"),
    ("POST", "/v1/images", link() | {"headers": {"Idempotency-Key": "a" * 300}}, 422, "Idempotency-Key"),
    ("POST", "/v1/images", form(FILE, ID) | {"content": FILE + ID}, 400, "body"),
    ("POST", "/v1/images:batch", form(FILE, ID) | {"content": ID + FILE[:-9]}, 400, "body"),
    # JSON
    *(("POST", path, {"content": DIGITS, "headers": JSON}, 422, "body") for path in PATHS),
    *(("POST", path, {"content": b"\xff", "headers": JSON}, 422, "body") for path in PATHS),
    *(("POST", path, {"content": PACKED, "headers": JSON | GZIP}, 415, "Content-Encoding") for path in PATHS),
    ("POST", "/v1/images", {"content": PACKED, "headers": GZIP | {"Content-Type": MULTIPART}}, 415, "Content-Encoding"),
    ("POST", "/v1/images", {"content": b"{", "headers": JSON}, 422, "body"),
    ("POST", "/v1/images", {"content": b"\xff", "headers": JSON}, 422, "body"),
    ("POST", "/v1/images", {"json": []}, 422, "body"),
    ("POST", "/v1/images:batch", {"json": {"images": 1}}, 422, "images"),
    ("POST", "/v1/images:batch", {"json": {"images": []}}, 422, "images"),
    ("POST", "/v1/reprocessings", {"content": b"{", "headers": JSON}, 422, "body"),
    ("POST", "/v1/reprocessings", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 422, "body"),
    ("POST", "/v1/reprocessings", {"json": {"statuses": ["queued"]}}, 422, "statuses.0"),
    ("POST", "/v1/reprocessings", {"json": {"statuses": []}}, 422, "statuses"),
    ("POST", "/v1/reprocessings", {"json": {"submitted_from": "yesterday"}}, 422, "submitted_from"),
    ("POST", "/v1/reprocessings", {"json": {"submitted_from": "2026-01-01T00:00:00"}}, 422, "submitted_from"),
    (
        "POST",
        "/v1/reprocessings",
        {"json": {"submitted_from": "2026-01-02T00:00:00Z", "submitted_until": "2026-01-01T00:00:00Z"}},
        422,
        "body",
    ),
    ("POST", "/v1/reprocessings", {"json": {"other_detector": "perhaps"}}, 422, "other_detector"),
    ("POST", "/v1/reprocessings", {"json": {"submitted_within_hours": 0}}, 422, "submitted_within_hours"),
    ("POST", "/v1/images", {"content": b"x" * 200_000, "headers": JSON}, 413, "body"),
    # queries and paths
    ("GET", "/v1/images?status=lost", {}, 422, "status"),
    ("GET", "/v1/images?limit=0", {}, 422, "limit"),
    ("GET", "/v1/images?limit=many", {}, 422, "limit"),
    ("GET", "/v1/images?image_id=7", {}, 422, "image_id.0"),
    ("GET", "/v1/images?cursor=x", {}, 422, "cursor"),
    ("GET", "/v1/images?" + "&".join([f"image_id={UNKNOWN}"] * 201), {}, 422, "image_id"),
    ("GET", "/v1/images/7", {}, 422, "image_id"),
    ("GET", f"/v1/images/{UNKNOWN}/annotated?style=x", {}, 422, "style"),
    ("GET", f"/v1/images/{UNKNOWN}/annotated?max_side=1", {}, 422, "max_side"),
    ("GET", "/api/image/", {}, 422, "image_id"),
    ("GET", f"/v1/pictures/{UNKNOWN}/annotated?expires=1", {}, 422, "signature"),
    ("GET", f"/v1/pictures/{UNKNOWN}/annotated?expires=1&signature=x", {}, 403, None),
    ("GET", f"/v1/images/{UNKNOWN}", {}, 404, None),
    ("GET", f"/v1/deliveries/{UNKNOWN}", {}, 404, None),
    ("GET", f"/v1/reprocessings/{UNKNOWN}", {}, 404, None),
    ("GET", "/v1/nothing", {}, 404, None),
    ("GET", "/assets/nothing.js", {}, 404, None),
    ("PUT", "/v1/images", {}, 405, None),
    ("DELETE", "/assets/base.css", {}, 405, None),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_refusal_names_the_field_and_the_mend(client: TestClient) -> None:
    for method, path, sent, status, field in CASES:
        answer = client.request(method, path, **sent)
        problem = answer.json()
        said = (method, path, answer.status_code, problem)
        assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json", said
        assert [error["field"] for error in problem["errors"]] == ([field] if field else []), said
        for error in problem["errors"]:
            assert error["fix"].startswith(MEND) and error["fix"] in problem["detail"], said
        assert any(f"{word} " in problem["detail"] for word in MEND), said
        assert "None" not in problem["detail"] and "{" not in problem["detail"].replace("'{'", ""), said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_photo_is_taken_however_its_part_is_written(client: TestClient, photo: bytes) -> None:
    large = photo + bytes(400_000)
    named = "; filename*=UTF-8''caf%C3%A9.jpg"
    for sent, filename in (
        (form(part("image", large, named), ID), "café.jpg"),
        (form(part("image", large), ID), None),
        (form(part("image", large, headers="Content-Type: image/jpeg\r\n"), ID), None),
        (form(part("image", large, '; filename="a.jpg"' + named), ID), "a.jpg"),
        (form(part("image", large, '; FileName="a.jpg"'), ID), "a.jpg"),
        (form(part("image", large, '; filename="a.jpg"'), ID, media_type="Multipart/Form-Data; BOUNDARY=b"), "a.jpg"),
        (form(part("image", large, '; filename="a"'), ID, media_type='MULTIPART/FORM-DATA; boundary="b"'), "a"),
    ):
        answer = client.post("/v1/images", **sent)
        assert answer.status_code == 202, answer.text
        image = client.get(f"/v1/images/{answer.json()['id']}").json()
        assert (image["filename"], image["width"]) == (filename, 512)


@pytest.mark.parametrize("media_type", ["Application/JSON", "application/json ; charset=utf-8", "APPLICATION/JSON;x=y"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_media_type_is_read_in_any_case(client: TestClient, media_type: str) -> None:
    for path, body in (("/v1/images", link()["json"]), ("/v1/images:batch", {"images": [link()["json"]]})):
        answer = client.post(path, content=json.dumps(body), headers={"Content-Type": media_type})
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_path_takes_is_told(client: TestClient) -> None:
    for path, allowed in (
        ("/v1/images", "GET, POST, HEAD, OPTIONS"),
        (f"/v1/images/{UNKNOWN}", "GET, DELETE, HEAD, OPTIONS"),
        ("/v1/images:batch", "POST, OPTIONS"),
        ("/assets/base.css", "GET, HEAD, OPTIONS"),
        ("/healthz", "GET, HEAD, OPTIONS"),
    ):
        refused, asked = client.patch(path), client.options(path)
        assert_problem(refused, 405, "method-not-allowed")
        assert refused.headers["allow"] == asked.headers["allow"] == allowed
        assert (asked.status_code, asked.content) == (204, b"")
    assert client.options("/nothing").status_code == 404
