"""Annotated pictures in every style: as they were asked for at first, and drawn when they are asked for."""

import io
from contextlib import ExitStack

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow

from facet.services import Services
from facet.storage import FolderStore
from tests.api.conftest import Submit
from tests.support.api import FACE, assert_problem, claim, complete
from tests.support.images import picture


def pixels(answer: object) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(answer.content)).convert("RGB")).astype(int)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sent", "meant"), [("blur", "blur"), ("pixelate", "pixelate"), ("none", "none"), ("true", "boxes"), ("0", "none")]
)
def test_what_is_asked_for_is_kept_and_booleans_are_understood(
    client: TestClient, submit: Submit, sent: str, meant: str
) -> None:
    body = submit(annotate=sent).json()
    image = client.get(f"/v1/images/{body['id']}").json()
    assert image["annotate"] == meant
    assert (image["links"]["annotated"] is None) == (meant == "none")


def test_a_boolean_of_json_is_understood(client: TestClient) -> None:
    body = {"image_url": "http://127.0.0.1/a.jpg", "request_id": "r", "annotate": False}
    accepted = client.post("/v1/images", json=body).json()
    assert client.get(f"/v1/images/{accepted['id']}").json()["annotate"] == "none"


def test_a_picture_is_drawn_in_the_style_that_is_asked_for(
    client: TestClient, submit: Submit, services: Services, photo: bytes
) -> None:
    image_id = submit().json()["id"]
    complete(services, image_id)
    x, y, width, height = FACE.box
    original = np.asarray(Pillow.open(io.BytesIO(photo)).convert("RGB")).astype(int)
    for style, changed in (("boxes", False), ("blur", True), ("pixelate", True), ("none", False)):
        answer = client.get(f"/v1/images/{image_id}/annotated", params={"style": style})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), answer.text
        assert f"{image_id}-{style}.jpg" in answer.headers["content-disposition"]
        difference = np.abs(pixels(answer) - original).mean(axis=2)
        inside = difference[y + 10 : y + height - 10, x + 10 : x + width - 10].mean()
        assert (inside > 8) == changed, style
        assert difference[400:].mean() < 4, "away from the face it is the photo"
    assert client.get(f"/v1/images/{image_id}/annotated").content == b"\xff\xd8drawn", "what was stored"


def test_a_smaller_one_is_drawn_and_a_browser_need_not_fetch_it_again(
    client: TestClient, submit: Submit, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit().json()["id"]
    complete(services, image_id)
    url, small = f"/v1/images/{image_id}/annotated", {"style": "none", "max_side": 100}
    answer = client.get(url, params=small)
    assert pixels(answer).shape == (100, 100, 3)
    assert pixels(client.get(url, params={"max_side": 4000})).shape == (512, 512, 3), "never larger than it is"
    monkeypatch.setattr(services.renditions, "draw", lambda *a, **k: pytest.fail("drawn again"))
    again = client.get(url, params=small, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_cannot_be_drawn_says_why(client: TestClient, submit: Submit, services: Services) -> None:
    waiting, lost = (submit(picture(), request_id=name).json()["id"] for name in ("waiting", "lost"))
    ask = {"style": "blur"}
    assert_problem(client.get(f"/v1/images/{waiting}/annotated", params=ask), 404, "not-yet")
    claim(services, waiting)
    assert_problem(client.get(f"/v1/images/{waiting}/annotated", params=ask), 404, "not-yet")
    complete(services, lost)
    assert isinstance(services.store, FolderStore)
    services.store.delete(f"images/{lost}/original")
    assert_problem(client.get(f"/v1/images/{lost}/annotated", params=ask), 404, "gone")
    assert_problem(client.get(f"/v1/images/{lost}/annotated", params={"style": "oil"}), 422, "invalid", "style")
    assert_problem(client.get(f"/v1/images/{lost}/annotated", params={"max_side": 1}), 422, "invalid", "max_side")


def test_one_picture_is_drawn_at_a_time_and_the_rest_are_told_to_come_later(
    client: TestClient, submit: Submit, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = submit().json()["id"]
    complete(services, image_id)
    monkeypatch.setattr("facet.intake.renditions._WAIT_SECONDS", 0.05)
    with services.renditions._turn():
        answer = client.get(f"/v1/images/{image_id}/annotated", params={"style": "blur"})
    assert_problem(answer, 503, "overloaded")
    monkeypatch.setattr("facet.intake.renditions._WAIT_SECONDS", 30)
    with services.renditions._turn(), ExitStack() as waiting:
        for _ in range(16):
            waiting.enter_context(services.renditions._waiting)
        at_once = client.get(f"/v1/images/{image_id}/annotated", params={"style": "blur"})
    assert_problem(at_once, 503, "overloaded")
    assert int(answer.headers["retry-after"]) > 0
    assert client.get(f"/v1/images/{image_id}/annotated", params={"style": "blur"}).status_code == 200


def test_images_are_asked_for_together(client: TestClient, submit: Submit) -> None:
    ids = [submit(picture(), request_id=f"r-{number}").json()["id"] for number in range(3)]
    found = client.get("/v1/images", params={"image_id": [ids[2], ids[0]]}).json()["images"]
    assert [image["id"] for image in found] == [ids[2], ids[0]]
