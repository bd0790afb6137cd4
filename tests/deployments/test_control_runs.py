"""Dead runs of the control deployments on a real Prefect server: they are ended, and their slot is free again."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelling, Pending, Running

from deployments.prefect.control_runs import ControlRuns
from deployments.prefect.deploy import deploy
from deployments.prefect.names import CONTROL_DEPLOYMENTS, DELIVER_DEPLOYMENT, MAINTAIN_DEPLOYMENT, REPROCESS_DEPLOYMENT
from facet.settings import Settings
from tests.deployments.worker.stage import Server, wait_for

LONG = timedelta(hours=1)
NewRun = Callable[..., UUID]


@pytest.fixture
def new_run(client: SyncPrefectClient, server: Server) -> NewRun:
    """A run that a worker has taken through these states, the last one so long `ago`."""
    deploy(Settings())
    database = Path(server.env["PREFECT_HOME"]) / "prefect.db"

    def new_run(deployment: str, *states: Any, ago: timedelta = LONG) -> UUID:
        deployment_id = client.read_deployment_by_name(deployment).id
        flow_run_id = client.create_flow_run_from_deployment(deployment_id).id
        for state in states:
            client.set_flow_run_state(flow_run_id, state)
        when = (datetime.now(UTC) - ago).strftime("%Y-%m-%d %H:%M:%S.%f")
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            aged = "UPDATE flow_run_state SET timestamp = ? WHERE id = (SELECT state_id FROM flow_run WHERE id = ?)"
            assert connection.execute(aged, (when, str(flow_run_id))).rowcount
        return flow_run_id

    return new_run


def kind(client: SyncPrefectClient, flow_run_id: UUID) -> StateType | None:
    return client.read_flow_run(flow_run_id).state_type


def beat(client: SyncPrefectClient, flow_run_id: UUID) -> None:
    """Send the event that Prefect's engine sends, and wait until it is stored."""
    resource = f"prefect.flow-run.{flow_run_id}"
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": resource},
    }
    client.request("POST", "/events", json=[event])
    stored = EventFilter(resource=EventResourceFilter(id=[resource]))
    wait_for(lambda: any(e.event == event["event"] for e in client.read_events(stored, limit=10).events))


@pytest.mark.parametrize("states", [(Pending(),), (Pending(), Running()), (Pending(), Running(), Cancelling())])
@pytest.mark.parametrize("deployment", [MAINTAIN_DEPLOYMENT, DELIVER_DEPLOYMENT])
def test_a_dead_run_is_ended_and_its_slot_is_free(
    client: SyncPrefectClient, new_run: NewRun, deployment: str, states: tuple[Any, ...]
) -> None:
    dead = new_run(deployment, *states)
    assert kind(client, new_run(deployment, Pending())) is StateType.CANCELLED, "the slot is taken"
    assert ControlRuns().look() == 1
    assert kind(client, dead) is (StateType.CANCELLED if len(states) == 3 else StateType.CRASHED)
    assert kind(client, new_run(deployment, Pending())) is StateType.PENDING


@pytest.mark.parametrize("deployment", CONTROL_DEPLOYMENTS)
def test_a_live_run_is_left_alone(client: SyncPrefectClient, new_run: NewRun, deployment: str) -> None:
    minute = timedelta(minutes=1)
    runs = {new_run(deployment, Pending(), Running(), ago=minute): StateType.RUNNING}
    if deployment == REPROCESS_DEPLOYMENT:
        runs[new_run(deployment, Pending(), ago=minute)] = StateType.PENDING
    assert ControlRuns().look() == 0 and {i: kind(client, i) for i in runs} == runs


def test_a_run_that_takes_long_is_left_alone_while_it_is_heard_of(client: SyncPrefectClient, new_run: NewRun) -> None:
    long = new_run(MAINTAIN_DEPLOYMENT, Pending(), Running())
    beat(client, long)
    assert ControlRuns().look() == 0 and kind(client, long) is StateType.RUNNING


def test_where_no_heartbeats_are_sent_silence_says_nothing(client: SyncPrefectClient, new_run: NewRun) -> None:
    silent = new_run(MAINTAIN_DEPLOYMENT, Pending(), Running())
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        assert ControlRuns().look() == 0
    assert kind(client, silent) is StateType.RUNNING


def test_a_run_is_under_way_while_it_lives_or_can_be_taken(client: SyncPrefectClient, new_run: NewRun) -> None:
    runs = ControlRuns()
    assert not runs.is_under_way(DELIVER_DEPLOYMENT)
    runs.create(DELIVER_DEPLOYMENT, key := str(uuid4()))
    runs.create(DELIVER_DEPLOYMENT, key)
    assert runs.is_under_way(DELIVER_DEPLOYMENT)
    queues = client.read_work_queues(work_pool_name="faces")
    client.delete_work_queue_by_id(next(queue.id for queue in queues if queue.name == "control"))
    assert not runs.is_under_way(DELIVER_DEPLOYMENT), "no worker ever takes it"
    deploy(Settings())
    new_run(DELIVER_DEPLOYMENT, Pending(), Running())
    assert not runs.is_under_way(DELIVER_DEPLOYMENT)
