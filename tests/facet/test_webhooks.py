from uuid import uuid4

import httpx
import pytest

from facet.claims import Claims
from facet.database import Database
from facet.jobs import Failure
from facet.models import Delivery, DeliveryState, Image
from facet.webhooks import Deliveries
from tests.support.images import add_images
from tests.support.receiver import Receiver


@pytest.fixture
def deliveries(database: Database) -> Deliveries:
    return Deliveries(database, httpx.Client(timeout=5, trust_env=False))


def owe(database: Database, claims: Claims, url: str) -> Image:
    [image] = add_images(database, 1, callback_url=url)
    [job] = claims.open([image.id], run_id=(run_id := uuid4()), flow_run_id=run_id, flow_run_name="run")
    claims.fail(job, Failure(code="error", reason="no"))
    return image


def stored(database: Database, delivery_id: object) -> Delivery:
    with database.read() as session:
        return session.get_one(Delivery, delivery_id)


def test_a_delivery_is_sent_once_and_recorded(
    database: Database, claims: Claims, deliveries: Deliveries, receiver: Receiver
) -> None:
    image = owe(database, claims, receiver.url)
    [delivery_id] = deliveries.owed([image.id])
    assert deliveries.attempt(delivery_id, last=False) is None
    assert deliveries.attempt(delivery_id, last=False) is None
    assert len(receiver.bodies) == 1
    delivery = stored(database, delivery_id)
    assert delivery.state is DeliveryState.DELIVERED
    assert delivery.attempts[0]["status_code"] == 204
    assert deliveries.owed([image.id]) == []


@pytest.mark.parametrize("status", [500, 404, 301])
def test_an_answer_that_is_no_success_is_a_failure(
    database: Database, claims: Claims, deliveries: Deliveries, receiver: Receiver, status: int
) -> None:
    image = owe(database, claims, receiver.url)
    [delivery_id] = deliveries.owed([image.id])
    receiver.statuses = [status, 204]
    assert deliveries.attempt(delivery_id, last=False) == f"The receiver answered {status}."
    assert stored(database, delivery_id).state is DeliveryState.PENDING
    assert deliveries.attempt(delivery_id, last=True) is None
    assert [a["status_code"] for a in stored(database, delivery_id).attempts] == [status, 204]


def test_a_receiver_that_is_down_is_recorded_and_a_retried_run_tries_it_again(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    image = owe(database, claims, "http://127.0.0.1:1/callback")
    [delivery_id] = deliveries.owed([image.id])
    trouble = deliveries.attempt(delivery_id, last=True)
    assert trouble and "ConnectError" in trouble
    assert stored(database, delivery_id).state is DeliveryState.FAILED
    assert deliveries.owed([image.id]) == [delivery_id]
