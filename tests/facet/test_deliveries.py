"""Deliveries on real databases, to real receivers."""

import json
import socket
from base64 import b64encode
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete
from standardwebhooks import Webhook, WebhookVerificationError

from facet.callbacks.retries import SCHEDULE
from facet.callbacks.sending import Deliveries
from facet.jobs import Failure
from facet.persistence.database import Database
from facet.persistence.models import Delivery, DeliveryState, Image
from facet.principals import EVERYONE
from facet.work.claims import Claims
from tests.support.deliveries import make_due, new_deliveries, owe, seconds_to_next, stored
from tests.support.images import add_images
from tests.support.processes import free_port, wait_for
from tests.support.scripted import Scripted, answer, scripted

OLD, NEW, OTHER = ("whsec_" + b64encode(bytes([n]) * 32).decode() for n in range(3))


@pytest.fixture
def deliveries(database: Database) -> Deliveries:
    return new_deliveries(database)


def statuses(*codes: int, **headers: str) -> Any:
    """A script that answers with these statuses in turn, and with the last one for ever."""
    left = list(codes)
    return lambda connection, over: answer(left.pop(0) if len(left) > 1 else left[0], **headers)(connection, over)


def test_a_delivery_is_taken_once_and_recorded(database: Database, claims: Claims, deliveries: Deliveries) -> None:
    with scripted(answer(200, body=b"thanks\x00")) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        outcome = deliveries.attempt(delivery_id)
        assert outcome and outcome.error is None
        assert deliveries.attempt(delivery_id) is None
    delivery = stored(database, delivery_id)
    assert (delivery.state, delivery.reason, delivery.lease_until) == (DeliveryState.DELIVERED, None, None)
    assert delivery.finished_at
    [attempt] = delivery.attempts
    assert (attempt.number, attempt.status_code, attempt.answer, attempt.error) == (1, 200, "thanks\ufffd", None)
    assert attempt.seconds is not None and abs(attempt.at - datetime.now(UTC)) < timedelta(minutes=1)
    [(headers, body)] = receiver.requests
    assert (headers["content-type"], headers["webhook-id"]) == ("application/json", str(delivery_id))
    assert body == delivery.body.encode()
    assert json.loads(body)["failure"] == {"code": "error", "reason": "no"}
    assert deliveries.undelivered([delivery.image_id]) == []


@pytest.mark.parametrize("status", [500, 404, 301, 307, 303])
def test_an_answer_that_is_no_success_is_a_failure_and_the_next_attempt_has_the_same_id_and_body(
    database: Database, claims: Claims, deliveries: Deliveries, status: int
) -> None:
    with scripted(statuses(status, 204, Location="http://127.0.0.1:1/")) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        outcome = deliveries.attempt(delivery_id)
        assert outcome and outcome.error == f"The receiver answered {status}." and not outcome.retry_soon
        assert stored(database, delivery_id).state is DeliveryState.PENDING
        assert deliveries.deliver_due(5) == []
        make_due(database, delivery_id)
        [outcome] = deliveries.deliver_due(5)
        assert outcome.error is None
    assert [a.status_code for a in stored(database, delivery_id).attempts] == [status, 204]
    first, second = receiver.requests
    assert first[1] == second[1]
    assert first[0]["webhook-id"] == second[0]["webhook-id"] == str(delivery_id)


def test_it_is_signed_with_every_active_secret(database: Database, claims: Claims) -> None:
    with scripted(statuses(500, 204)) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        new_deliveries(database, secrets=OLD).attempt(delivery_id)
        new_deliveries(database, secrets=f"{NEW}, {OLD}").attempt(delivery_id)
    (first, body), (second, _) = receiver.requests
    assert Webhook(OLD).verify(body, first)["status"] == "failed"
    assert len(first["webhook-signature"].split()) == 1 and len(second["webhook-signature"].split()) == 2
    assert Webhook(OLD).verify(body, second) == Webhook(NEW).verify(body, second) == json.loads(body)
    for secret, data in ((OTHER, body), (OLD, body + b" "), (NEW, body.replace(b"failed", b"passed"))):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(data, second)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body, second | {"webhook-id": str(uuid4())})


def test_without_a_secret_it_is_unsigned_and_still_has_its_id(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    with scripted(answer()) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        deliveries.attempt(delivery_id)
    headers = receiver.requests[0][0]
    assert headers["webhook-id"] == str(delivery_id) and headers["webhook-timestamp"].isdecimal()
    assert "webhook-signature" not in headers


def test_a_quick_retry_uses_up_none_of_the_schedule(database: Database, claims: Claims, deliveries: Deliveries) -> None:
    with scripted(answer(503)) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        image_id = stored(database, delivery_id).image_id
        for _ in range(2):
            outcome = deliveries.attempt_all([delivery_id], quick=True)[delivery_id]
            assert outcome.retry_soon
            assert deliveries.undelivered([image_id], retry_soon=True) == [delivery_id]
            assert seconds_to_next(database, delivery_id) > 5, "the run that made it goes first"
        assert not deliveries.attempt_all([delivery_id])[delivery_id].retry_soon
    assert (deliveries.undelivered([image_id], retry_soon=True), deliveries.undelivered([image_id])) == (
        [],
        [delivery_id],
    )
    assert stored(database, delivery_id).failures == 1
    assert seconds_to_next(database, delivery_id) <= 6


def test_it_is_tried_again_by_the_schedule_and_then_given_up(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    delivery_id = owe(database, claims, f"http://127.0.0.1:{free_port()}/")
    make_due(database, delivery_id)
    for wait in SCHEDULE:
        [outcome] = deliveries.deliver_due(5)
        assert outcome.error and "ConnectError" in outcome.error and not outcome.given_up
        left = seconds_to_next(database, delivery_id)
        assert wait.total_seconds() - 5 < left <= wait.total_seconds() * 1.2
        make_due(database, delivery_id)
    [outcome] = deliveries.deliver_due(5)
    assert outcome.given_up
    delivery = stored(database, delivery_id)
    assert (delivery.state, len(delivery.attempts)) == (DeliveryState.FAILED, len(SCHEDULE) + 1)
    assert delivery.reason and delivery.reason.startswith("Given up after the last retry.")
    make_due(database, delivery_id)
    assert deliveries.deliver_due(5) == []
    assert deliveries.undelivered([delivery.image_id]) == [delivery_id], "a retried run tries it again"


def test_the_waits_are_spread(
    database: Database, claims: Claims, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    delivery_id = owe(database, claims, "http://127.0.0.1:1/")
    deliveries.attempt(delivery_id)
    delivery = stored(database, delivery_id)
    assert (delivery.due_at - delivery.attempts[0].at).total_seconds() >= SCHEDULE[0].total_seconds() * 1.2


def test_410_ends_it_for_good(database: Database, claims: Claims, deliveries: Deliveries) -> None:
    with scripted(answer(410)) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        outcome = deliveries.attempt(delivery_id, quick=True)
        assert outcome and outcome.given_up and not outcome.retry_soon
        make_due(database, delivery_id)
        assert deliveries.deliver_due(5) == []
    delivery = stored(database, delivery_id)
    assert delivery.state is DeliveryState.FAILED and "410" in (delivery.reason or "")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 115, 150),
        ("1", 4, 7),
        ("99999999", 86_000, 104_000),
        ("9" * 400, 4, 7),
        ("-5", 4, 7),
        ("soon", 4, 7),
        (timedelta(hours=1), 3400, 4400),
        (timedelta(hours=-1), 4, 7),
    ],
)
def test_retry_after_puts_it_off_within_bounds(
    database: Database, claims: Claims, deliveries: Deliveries, asked: str | timedelta, least: float, most: float
) -> None:
    if isinstance(asked, timedelta):
        asked = format_datetime(datetime.now(UTC) + asked, usegmt=True)
    with scripted(answer(429, Retry_After=asked)) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        make_due(database, delivery_id)
        deliveries.deliver_due(5)
    assert least - 4 < seconds_to_next(database, delivery_id) < most


def test_a_receiver_that_asks_for_time_is_not_tried_again_quickly(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    with scripted(answer(503, Retry_After="60")) as receiver:
        outcome = deliveries.attempt(owe(database, claims, receiver.url), quick=True)
    assert outcome and not outcome.retry_soon


def test_a_slow_receiver_is_not_tried_again_quickly(database: Database, claims: Claims) -> None:
    with scripted(lambda connection, over: over.wait(30)) as receiver:
        outcome = new_deliveries(database, seconds=2.1).attempt(owe(database, claims, receiver.url), quick=True)
    assert outcome and "within" in (outcome.error or "") and not outcome.retry_soon


def test_only_2_kb_of_an_answer_are_kept(database: Database, claims: Claims, deliveries: Deliveries) -> None:
    with scripted(answer(200, body="é".encode() * 50_000)) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        deliveries.attempt(delivery_id)
    assert stored(database, delivery_id).attempts[0].answer == "é" * 1024


def test_an_address_that_is_not_allowed_any_more_is_not_called(database: Database, claims: Claims) -> None:
    with scripted(answer()) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        outcome = new_deliveries(database, allow="").attempt(delivery_id, quick=True)
    assert outcome and "Not sent" in (outcome.error or "") and not outcome.retry_soon
    assert receiver.requests == []
    assert stored(database, delivery_id).state is DeliveryState.PENDING


def slowly(seconds: float = 0.3) -> Any:
    def script(connection: socket.socket, over: Event) -> None:
        over.wait(seconds)
        answer()(connection, over)

    return script


def at_once(*work: Any) -> None:
    threads = [Thread(target=job) for job in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_senders_at_the_same_time_send_each_delivery_once(database: Database, claims: Claims) -> None:
    with scripted(slowly()) as receiver:
        ids = [owe(database, claims, receiver.url) for _ in range(5)]
        for delivery_id in ids:
            make_due(database, delivery_id)
        senders = [new_deliveries(database) for _ in range(4)]
        flows = [lambda sender=sender: sender.deliver_due(20) for sender in senders[:2]]
        tasks = [lambda sender=sender: sender.attempt_all(ids) for sender in senders[2:]]
        at_once(*flows, *tasks)
    assert Counter(headers["webhook-id"] for headers, _ in receiver.requests) == Counter(map(str, ids))
    for delivery_id in ids:
        delivery = stored(database, delivery_id)
        assert (delivery.state, len(delivery.attempts)) == (DeliveryState.DELIVERED, 1)


def test_a_sender_that_dies_costs_an_attempt_and_no_more(
    database: Database, claims: Claims, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(answer()) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        dying = new_deliveries(database)

        def die(*args: Any, **options: Any) -> None:
            raise SystemExit

        monkeypatch.setattr(dying._egress, "request", die)
        with pytest.raises(SystemExit):
            dying.attempt(delivery_id)
        assert deliveries.attempt(delivery_id) is None, "it is in the dead one's hands until the lease ends"
        make_due(database, delivery_id)
        assert not deliveries.is_due()
        make_due(database, delivery_id, end_lease=True)
        assert deliveries.is_due()
        deliveries.deliver_due(5)
    lost, taken = stored(database, delivery_id).attempts
    assert (lost.status_code, lost.seconds, taken.status_code) == (None, None, 204)
    assert lost.error and "ended before the answer" in lost.error


def test_a_delivery_that_kills_every_sender_is_given_up(
    database: Database, claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery_id = owe(database, claims, "http://127.0.0.1:1/")
    dying = new_deliveries(database)
    monkeypatch.setattr(dying._egress, "request", lambda *args, **options: 1 / 0)
    for _ in range(len(SCHEDULE) + 1):
        make_due(database, delivery_id, end_lease=True)
        with pytest.raises(ZeroDivisionError):
            dying.deliver_due(5)
    make_due(database, delivery_id, end_lease=True)
    assert dying.deliver_due(5) == []
    delivery = stored(database, delivery_id)
    assert delivery.state is DeliveryState.FAILED and "sender died" in (delivery.reason or "")


def test_a_sender_that_was_overtaken_does_not_undo_what_was_taken(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    first_may_fail = Event()

    def script(connection: socket.socket, over: Event) -> None:
        if len(receiver.requests) == 1:
            first_may_fail.wait(20)
            answer(410)(connection, over)
        else:
            answer()(connection, over)

    with scripted(script) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        slow = Thread(target=deliveries.attempt, args=(delivery_id,))
        slow.start()
        wait_for(lambda: receiver.requests, 20, "the first attempt is under way")
        make_due(database, delivery_id, end_lease=True)
        deliveries.deliver_due(5)
        first_may_fail.set()
        slow.join()
    delivery = stored(database, delivery_id)
    assert delivery.state is DeliveryState.DELIVERED
    assert [attempt.status_code for attempt in delivery.attempts] == [410, 204]


def test_a_slow_receiver_delays_its_own_callbacks_and_no_one_elses(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    released = Event()
    with scripted(lambda c, over: released.wait(20) and answer()(c, over)) as slow, scripted(answer()) as quick:
        ids = [owe(database, claims, slow.url) for _ in range(12)] + [
            owe(database, claims, quick.url) for _ in range(6)
        ]
        for delivery_id in ids:
            make_due(database, delivery_id)
        flow = Thread(target=deliveries.deliver_due, args=(60,))
        flow.start()
        wait_for(lambda: len(quick.requests) == 6, 30, "the quick receiver has all of its callbacks")
        assert slow.most_at_once == 2
        released.set()
        flow.join()
    assert len(slow.requests) == 12 and slow.most_at_once == 2
    assert {stored(database, i).state for i in ids} == {DeliveryState.DELIVERED}


def fail_again(claims: Claims, image_id: UUID) -> None:
    [job] = claims.open([image_id], run_id=(run_id := uuid4()), flow_run_id=run_id, flow_run_name="run")
    claims.fail(job, Failure(code="error", reason="again"))


def test_a_newer_result_takes_the_place_of_one_that_was_not_taken(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    with scripted(statuses(500, 204)) as receiver:
        older = owe(database, claims, receiver.url)
        deliveries.attempt(older)
        image_id = stored(database, older).image_id
        fail_again(claims, image_id)
        [newer] = deliveries.undelivered([image_id])
        assert newer != older
        for delivery_id in (older, newer):
            make_due(database, delivery_id)
        deliveries.deliver_due(5)
    assert [json.loads(body)["failure"]["reason"] for _, body in receiver.requests] == ["no", "again"]
    assert "newer result" in (stored(database, older).reason or "")


def test_an_image_that_no_run_tells_of_is_due_by_itself(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    """Cancelled by the dispatcher, or its run was killed between the result and the callback."""
    delivery_id = owe(database, claims, "http://127.0.0.1:1/")
    assert not deliveries.is_due()
    assert 0 < seconds_to_next(database, delivery_id) <= 30


def test_an_image_without_a_callback_url_owes_nothing(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    [image] = add_images(database, 1)
    fail_again(claims, image.id)
    assert deliveries.undelivered([image.id]) == []


def test_a_redelivery_has_the_same_id_and_body_and_a_schedule_of_its_own(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    with scripted(statuses(204, 500, 204)) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        deliveries.attempt(delivery_id)
        again = deliveries.redeliver(delivery_id, EVERYONE)
        assert again and again.state is DeliveryState.PENDING and deliveries.is_due()
        [outcome] = deliveries.deliver_due(5)
        assert outcome.error and seconds_to_next(database, delivery_id) <= 6
        make_due(database, delivery_id)
        deliveries.deliver_due(5)
    assert stored(database, delivery_id).state is DeliveryState.DELIVERED
    assert len({(headers["webhook-id"], body) for headers, body in receiver.requests}) == 1
    assert deliveries.redeliver(uuid4(), EVERYONE) is None


def test_a_redelivery_asked_for_during_an_attempt_that_fails_is_soon(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    def script(connection: socket.socket, over: Event) -> None:
        deliveries.redeliver(UUID(receiver.requests[-1][0]["webhook-id"]), EVERYONE)
        answer(500)(connection, over)

    receiver: Scripted
    with scripted(script) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        deliveries.attempt(delivery_id)
    assert seconds_to_next(database, delivery_id) <= 6


def test_a_delivery_removed_while_it_is_sent_stays_gone(
    database: Database, claims: Claims, deliveries: Deliveries
) -> None:
    def script(connection: socket.socket, over: Event) -> None:
        with database.write() as session:
            session.execute(delete(Image))
        answer()(connection, over)

    with scripted(script) as receiver:
        delivery_id = owe(database, claims, receiver.url)
        deliveries.attempt(delivery_id)
    with database.read() as session:
        assert session.get(Delivery, delivery_id) is None
