"""`/v1/images` without Prefect: what is accepted is kept, and what is wrong is said."""

from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from facet.jobs import Failure
from facet.services import Services
from tests.api.conftest import Submit
from tests.hostile.pictures import claiming
from tests.support.api import FACE, assert_problem, claim, complete
from tests.support.images import picture


def test_a_photo_is_accepted_and_kept_while_prefect_is_down(client: TestClient, submit: Submit, photo: bytes) -> None:
    answer = submit(callback_url="http://127.0.0.1:9/x")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["request_id"]) == ("queued", "r-1")
    assert answer.headers["location"] == body["links"]["self"] == f"http://127.0.0.1:8000/v1/images/{body['id']}"
    assert int(answer.headers["retry-after"]) > 0
    image = client.get(f"/v1/images/{body['id']}").json()
    assert (image["status"], image["width"], image["height"]) == ("queued", 512, 512)
    assert (image["min_confidence"], image["min_face_size"], image["annotate"]) == (0.94, 20, "boxes")
    original = client.get(f"/v1/images/{body['id']}/original")
    assert (original.content, original.headers["content-type"]) == (photo, "image/jpeg")


def test_a_finished_image_tells_its_faces(client: TestClient, submit: Submit, services: Services) -> None:
    image_id = submit(callback_url="http://127.0.0.1:9/x").json()["id"]
    complete(services, image_id)
    image = client.get(f"/v1/images/{image_id}").json()
    [face] = image["faces"]
    assert (face["box"], face["confidence"], face["keypoints"]) == (FACE.box, FACE.confidence, FACE.keypoints)
    assert face["box_normalized"] == [0.25, 0.125, 0.5, 0.25]
    assert image["flow_run"]["name"] == "a run"
    assert image["callback"]["state"] == "pending"
    assert image["detector"] == "test 1"
    assert client.get(f"/v1/images/{image_id}/annotated").content == b"\xff\xd8drawn"
    answer = client.get(f"/v1/images/{image_id}/flow-run", follow_redirects=False)
    assert answer.headers["location"].endswith(f"/runs/flow-run/{image['flow_run']['id']}")


@pytest.mark.parametrize("data", [b"hello", b"<svg/>", b""])
def test_what_is_no_picture_is_415_and_stores_nothing(
    client: TestClient, submit: Submit, services: Services, data: bytes
) -> None:
    problem = assert_problem(submit(data), 415, "not-a-picture", "image")
    assert "JPEG, PNG, WEBP" in problem["detail"]
    assert client.get("/v1/images").json()["images"] == []
    assert list(services.store.keys("images/")) == []


def test_a_broken_picture_is_422_and_stores_nothing(
    client: TestClient, submit: Submit, services: Services, photo: bytes
) -> None:
    assert_problem(submit(photo[:30_000]), 422, "undecodable", "image")
    assert client.get("/v1/images").json()["images"] == []
    assert list(services.store.keys("images/")) == []


def test_too_many_bytes_or_pixels_are_413(client: TestClient, submit: Submit) -> None:
    assert_problem(submit(b"\xff" * 50_000_001), 413, "too-large", "image")
    assert_problem(submit(claiming(picture(image_format="jpg"), 10_000, 7_501)), 413, "too-large", "image")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", ""),
        ("request_id", "x" * 201),
        ("request_id", "a\x00b"),
        ("request_id", "a\nb"),
        ("callback_url", "not a url"),
        ("callback_url", "ftp://example.org/x"),
        ("min_confidence", "1.5"),
        ("min_confidence", "much"),
        ("min_face_size", "0"),
        ("annotate", "perhaps"),
    ],
)
def test_a_wrong_field_is_named(submit: Submit, field: str, value: str) -> None:
    assert_problem(submit(**{field: value}), 422, "invalid", field)


def test_a_missing_image_is_named(client: TestClient) -> None:
    assert_problem(client.post("/v1/images", data={"request_id": "a"}), 422, "invalid", "image")


def test_images_are_listed_newest_first_page_by_page(client: TestClient, submit: Submit, services: Services) -> None:
    ids = [submit(picture(), request_id=f"r-{number % 2}").json()["id"] for number in range(5)]
    complete(services, ids[0])
    listed, cursor = [], None
    while True:
        page = client.get("/v1/images", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        listed += [image["id"] for image in page["images"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert listed == ids[::-1]
    of_request = client.get("/v1/images", params={"request_id": "r-1"}).json()["images"]
    assert [image["id"] for image in of_request] == [ids[3], ids[1]]
    completed = client.get("/v1/images", params={"status": "completed"}).json()["images"]
    assert [image["id"] for image in completed] == [ids[0]]
    assert_problem(client.get("/v1/images", params={"cursor": "bogus"}), 422, "invalid", "cursor")
    assert_problem(client.get("/v1/images", params={"status": "lost"}), 422, "invalid", "status")


def test_a_picture_that_is_not_there_says_why(client: TestClient, submit: Submit, services: Services) -> None:
    waiting, plain, failed = (submit(annotate=str(number != 1)).json()["id"] for number in range(3))
    complete(services, plain, annotated=False)
    services.claims.fail(claim(services, failed), Failure(code="undecodable", reason="It does not decode."))
    assert "is queued" in assert_problem(client.get(f"/v1/images/{waiting}/annotated"), 404, "not-yet")["detail"]
    assert_problem(client.get(f"/v1/images/{waiting}/flow-run"), 404, "not-yet")
    assert_problem(client.get(f"/v1/images/{plain}/annotated"), 404, "not-annotated")
    problem = assert_problem(client.get(f"/v1/images/{failed}/annotated"), 404, "no-result")
    assert "It does not decode." in problem["detail"]
    assert client.get(f"/v1/images/{failed}").json()["failure"]["code"] == "undecodable"


def test_a_removed_image_is_gone_with_its_objects(client: TestClient, submit: Submit, services: Services) -> None:
    image_id = submit(callback_url="http://127.0.0.1:9/x").json()["id"]
    complete(services, image_id)
    assert client.delete(f"/v1/images/{image_id}").status_code == 204
    for path in ("", "/original", "/annotated", "/flow-run"):
        assert_problem(client.get(f"/v1/images/{image_id}{path}"), 404, "unknown-image")
    assert_problem(client.delete(f"/v1/images/{image_id}"), 404, "unknown-image")
    assert client.get("/v1/images").json()["images"] == []
    assert list(services.store.keys("images/")) == []


def test_an_image_removed_while_it_is_processed_stays_gone(
    client: TestClient, submit: Submit, services: Services
) -> None:
    image_id = submit().json()["id"]
    job = claim(services, image_id)
    client.delete(f"/v1/images/{image_id}")
    assert services.claims.complete([job]).lost == {job.image_id}


def test_a_store_or_database_that_is_down_is_503_and_loses_nothing(
    client: TestClient, submit: Submit, services: Services, tmp_path: Path
) -> None:
    (tmp_path / "objects").rename(tmp_path / "away") if (tmp_path / "objects").exists() else None
    (tmp_path / "objects").touch()  # a file where the folder should be
    answer = submit()
    assert_problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert client.get("/v1/images").json()["images"] == []


def test_unknown_paths_and_ids_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/nothing"), 404, "not-found")
    assert_problem(client.get("/v1/images/not-an-id"), 422, "invalid", "image_id")
    assert_problem(client.get(f"/v1/images/{uuid4()}"), 404, "unknown-image")


def test_a_queue_too_long_is_said_at_the_door(client: TestClient, submit: Submit, services: Services) -> None:
    full = services.settings.model_copy(update={"max_queue": 2})
    services.catalog._settings = full
    assert [submit(picture()).status_code for _ in range(2)] == [202, 202]
    answer = submit(picture())
    assert_problem(answer, 503, "overloaded")
    assert int(answer.headers["retry-after"]) > 0


def test_a_full_disk_is_said_at_the_door(client: TestClient, submit: Submit, services: Services) -> None:
    services.catalog._settings = services.settings.model_copy(update={"min_free_bytes": 10**18})
    assert "disk" in assert_problem(submit(picture()), 503, "overloaded")["detail"]
    assert list(services.store.keys("images/")) == []
