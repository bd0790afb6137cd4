"""`/v1/deliveries`, and which callback URLs are taken."""

import json
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from facet.services import Services
from tests.api.conftest import Submit
from tests.support.api import assert_problem, complete
from tests.support.images import picture
from tests.support.scripted import answer, scripted


def ended(submit: Submit, services: Services, url: str = "http://127.0.0.1:9/x") -> str:
    """The id of an image that has ended."""
    image_id: str = submit(picture(), callback_url=url).json()["id"]
    complete(services, image_id)
    return image_id


def test_a_delivery_tells_its_body_and_its_attempts(client: TestClient, submit: Submit, services: Services) -> None:
    with scripted(answer(503, body=b"not now")) as receiver:
        image_id = ended(submit, services, receiver.url)
        [delivery_id] = services.deliveries.undelivered([UUID(image_id)])
        services.deliveries.attempt(delivery_id)
    told = client.get(f"/v1/deliveries/{delivery_id}").json()
    assert (told["id"], told["image_id"], told["url"]) == (str(delivery_id), image_id, receiver.url)
    assert (told["state"], told["reason"], told["finished_at"]) == ("pending", None, None)
    assert told["next_attempt_at"] > told["created_at"]
    assert told["body"].encode() == receiver.requests[0][1]
    assert json.loads(told["body"])["status"] == "completed"
    [attempt] = told["attempts"]
    assert (attempt["status_code"], attempt["answer"]) == (503, "not now")
    assert attempt["error"] == "The receiver answered 503." and attempt["seconds"] >= 0 and attempt["at"]
    of_image = client.get(f"/v1/images/{image_id}").json()["callback"]
    assert (of_image["id"], of_image["attempts"]) == (str(delivery_id), [attempt])


def test_deliveries_are_listed_newest_first_page_by_page(
    client: TestClient, submit: Submit, services: Services
) -> None:
    with scripted(answer()) as receiver:
        images = [ended(submit, services, receiver.url) for _ in range(5)]
        [taken] = services.deliveries.undelivered([UUID(images[2])])
        services.deliveries.attempt(taken)
    listed, cursor = [], None
    while True:
        page = client.get("/v1/deliveries", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        listed += [delivery["image_id"] for delivery in page["deliveries"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert listed == images[::-1]
    delivered = client.get("/v1/deliveries", params={"state": "delivered"}).json()["deliveries"]
    assert [delivery["id"] for delivery in delivered] == [str(taken)]
    assert delivered[0]["next_attempt_at"] is None
    of_image = client.get("/v1/deliveries", params={"image_id": images[0]}).json()["deliveries"]
    assert [delivery["image_id"] for delivery in of_image] == [images[0]]
    assert_problem(client.get("/v1/deliveries", params={"cursor": "bogus"}), 422, "invalid", "cursor")
    assert_problem(client.get("/v1/deliveries", params={"state": "lost"}), 422, "invalid", "state")


def test_a_delivery_is_sent_again_on_request(client: TestClient, submit: Submit, services: Services) -> None:
    with scripted(answer()) as receiver:
        [delivery_id] = services.deliveries.undelivered([UUID(ended(submit, services, receiver.url))])
        services.deliveries.attempt(delivery_id)
        again = client.post(f"/v1/deliveries/{delivery_id}/redeliver")
        assert (again.status_code, again.json()["state"]) == (202, "pending")
        assert again.headers["location"].endswith(f"/v1/deliveries/{delivery_id}")
        services.deliveries.deliver_due(5)
    assert len(receiver.requests) == 2
    assert client.get(f"/v1/deliveries/{delivery_id}").json()["state"] == "delivered"


def test_unknown_deliveries_are_problems(client: TestClient) -> None:
    for got in (client.get(f"/v1/deliveries/{uuid4()}"), client.post(f"/v1/deliveries/{uuid4()}/redeliver")):
        assert_problem(got, 404, "unknown-delivery")


@pytest.mark.parametrize("path", ["/v1/images", "/api/image/"])
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/latest/meta-data", "address-refused"),
        ("http://[::ffff:10.0.0.1]/", "address-refused"),
        ("http://user:secret@example.com/", "invalid"),
        ("http://nowhere.invalid/", "unknown-host"),
    ],
)
def test_a_callback_url_that_may_not_be_called_is_refused_with_the_fix_and_nothing_is_stored(
    client: TestClient, submit: Submit, services: Services, path: str, url: str, code: str
) -> None:
    problem = assert_problem(submit(path=path, callback_url=url), 422, code, "callback_url")
    assert "secret" not in problem["detail"]
    assert client.get("/v1/images").json()["images"] == []
    assert list(services.store.keys("images/")) == []
