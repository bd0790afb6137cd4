"""The predecessor's contract, with its own field names."""

from uuid import uuid4

from fastapi.testclient import TestClient

from facet.services import Services
from tests.api.conftest import Submit
from tests.support.api import assert_problem, complete


def test_a_photo_is_accepted_with_the_predecessors_answer(client: TestClient, submit: Submit) -> None:
    answer = submit(path="/api/image/", callback_url="http://127.0.0.1:9/x")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["request_id"]) == ("ok", "r-1")
    image = client.get(f"/v1/images/{body['image_id']}").json()
    assert (image["min_confidence"], image["annotate"]) == (0.94, "boxes")


def test_the_annotated_jpeg_is_downloaded_by_image_id(client: TestClient, submit: Submit, services: Services) -> None:
    image_id = submit(path="/api/image/", callback_url="http://127.0.0.1:9/x").json()["image_id"]
    assert_problem(client.get("/api/image/", params={"image_id": image_id}), 404, "not-yet")
    complete(services, image_id)
    answer = client.get("/api/image/", params={"image_id": image_id})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert_problem(client.get("/api/image/", params={"image_id": str(uuid4())}), 404, "unknown-image")


def test_its_errors_are_told_too(client: TestClient, submit: Submit) -> None:
    assert_problem(submit(b"hello", path="/api/image/", callback_url="http://127.0.0.1:9/x"), 415, "not-a-picture")
    assert_problem(submit(path="/api/image/"), 422, "invalid", "callback_url")
