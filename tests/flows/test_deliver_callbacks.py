"""Callbacks that are not taken at once, on the real stack: scheduled, sent by `deliver-callbacks`, and redelivered."""

from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support import local_http
from tests.support.images import picture
from tests.support.processes import wait_for
from tests.support.scripted import Scripted, answer, scripted
from tests.support.shared_stack import SECRET
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Stack:
    return shared_stack


@pytest.fixture
def receiver() -> Iterator[Scripted]:
    """Takes nothing until its fifth request."""
    with scripted(lambda c, over: answer(500 if len(receiver.requests) < 5 else 204)(c, over)) as receiver:
        yield receiver


def deliver_runs(stack: Stack) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = stack.prefect(
        "/flow_runs/filter",
        flows={"name": {"any_": ["deliver-callbacks"]}},
        flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}},
    )
    return runs


def test_what_is_not_taken_at_once_is_sent_by_its_own_flow_and_again_on_request(
    stack: Stack, receiver: Scripted
) -> None:
    image_id = stack.submit(picture(), request_id="stubborn", callback_url=receiver.url)["id"]
    wait_for(lambda: len(receiver.requests) == 3, 90, "the run's three attempts")
    flow_run_id = stack.image(image_id)["flow_run"]["id"]
    of_run = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    wait_for(
        lambda: stack.prefect("/flow_runs/filter", **of_run)[0]["state_type"] == "FAILED", 30, "the run stands out"
    )
    wait_for(lambda: len(receiver.requests) == 4, 90, "the attempt after 5 s, by deliver-callbacks")
    callback = stack.image(image_id)["callback"]
    assert (callback["state"], len(callback["attempts"])) == ("pending", 4)
    wait_for(lambda: deliver_runs(stack), 30, "a failing receiver fails no delivery run")
    assert deliver_runs(stack)[0]["work_queue_name"] == "control"

    delivery = f"{stack.url}/v1/deliveries/{callback['id']}"
    assert local_http.post(f"{delivery}/redeliver").status_code == 202
    wait_for(lambda: local_http.get(delivery).json()["state"] == "delivered", 90, "redelivered")
    assert len({(headers["webhook-id"], body) for headers, body in receiver.requests}) == 1
    for headers, body in receiver.requests:
        assert Webhook(SECRET).verify(body, headers)["request_id"] == "stubborn"
    assert [a["status_code"] for a in local_http.get(delivery).json()["attempts"]] == [500] * 4 + [204]
    runs = stack.prefect("/flow_runs/filter", flows={"name": {"any_": ["deliver-callbacks"]}})
    assert all(SECRET not in str(run) for run in runs)
    assert all(SECRET not in log.read_text() for log in (stack.home / "logs").glob("*.log"))


def test_a_callback_is_delivered_though_nothing_but_the_schedule_and_the_api_is_left_to_do_it(stack: Stack) -> None:
    """The run is cancelled before it starts, so no task of it can tell the sender."""
    with scripted(answer()) as receiver:
        workers = stack.processes("worker")
        for worker in workers:
            worker.suspend()
        image_id = stack.submit(picture(), request_id="cancelled", callback_url=receiver.url)["id"]
        wait_for(lambda: stack.image(image_id)["flow_run"], 30, "a run has the image")
        flow_run_id = stack.image(image_id)["flow_run"]["id"]
        stack.prefect(f"/flow_runs/{flow_run_id}/set_state", state={"type": "CANCELLED"}, force=True)
        for worker in workers:
            worker.resume()
        wait_for(lambda: receiver.requests, 120, "the sender is told")
        assert stack.image(image_id)["status"] == "cancelled"
