"""The automations on a real Prefect server, which alone says how flow runs fare here: there is no worker."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import AwaitingRetry, Completed, Pending, Running

from deployments.prefect.automations import crash_unstarted, crash_zombies, make_automations
from tests.deployments.worker import sample_flows
from tests.deployments.worker.stage import Server, Stage, wait_for

SHORTEST = timedelta(seconds=10)  # that Prefect allows


@pytest.fixture
def stage(client: SyncPrefectClient, server: Server, tmp_path: Path) -> Stage:
    """In a Prefect in which nothing is deployed, and that has no automations."""
    return Stage(server, tmp_path)


def flow_run(stage: Stage, *states: State[None], tag: str = "facet") -> UUID:
    """A flow run that goes through these states, and then nothing is heard of it."""
    deployment = stage.deploy(sample_flows.snooze, tags=[tag])
    flow_run_id = stage.client.create_flow_run_from_deployment(deployment, parameters={"seconds": 1}).id
    for state in states:
        stage.client.set_flow_run_state(flow_run_id, state, force=True)
    return flow_run_id


def beat(stage: Stage, flow_run_id: UUID, event_name: str = "heartbeat") -> None:
    """Send the event that Prefect's engine sends."""
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": f"prefect.flow-run.{event_name}",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}"},
        "related": [{"prefect.resource.id": "prefect.tag.facet", "prefect.resource.role": "tag"}],
    }
    stage.client.request("POST", "/events", json=[event])


def await_loaded(stage: Stage, count: int) -> None:
    """Until so many automations follow events: Prefect loads them in the background, and they miss what was before."""
    database = Path(stage.server.env["PREFECT_HOME"]) / "prefect.db"
    nobody = uuid4()

    def loaded() -> bool:
        for name in ("Pending", "heartbeat"):
            beat(stage, nobody, name)
        with closing(sqlite3.connect(database)) as connection:
            [[following]] = connection.execute(
                "SELECT count(DISTINCT automation_id) FROM automation_bucket"
                " WHERE automation_id IN (SELECT id FROM automation)"
            )
        return bool(following == count)

    wait_for(loaded, 60)


def test_flow_runs_that_die_without_a_word_are_crashed_and_others_are_left_alone(stage: Stage) -> None:
    stage.client.create_automation(crash_zombies(SHORTEST))
    stage.client.create_automation(crash_unstarted(SHORTEST))
    await_loaded(stage, 2)
    alive = flow_run(stage, Running())
    beat(stage, alive)
    unheard = flow_run(stage, Pending(), Running())
    silent = flow_run(stage, Pending(), Running())
    beat(stage, silent)
    unstarted = flow_run(stage, Pending())
    ended = flow_run(stage, Pending(), Running(), Completed())
    handed_back = flow_run(stage, Running(), AwaitingRetry())
    strange = flow_run(stage, Running(), tag="another")

    def crashed() -> bool:
        beat(stage, alive)
        return all(stage.state(i).is_crashed() for i in (unheard, silent, unstarted))

    wait_for(crashed, 120)
    assert {stage.state(i).message for i in (unheard, silent)} == {"The flow run's heartbeats have stopped."}
    assert stage.state(unstarted).message == "The flow run was taken by a worker and has not begun."
    assert [stage.state(i).type for i in (alive, ended, handed_back, strange)] == [
        StateType.RUNNING,
        StateType.COMPLETED,
        StateType.SCHEDULED,
        StateType.RUNNING,
    ]


def test_automations_are_made_once_changed_in_place_and_stay_paused(stage: Stage) -> None:
    make_automations(stage.client)
    made = {automation.name: automation for automation in stage.client.read_automations()}
    assert len(made) == 2 and all(automation.enabled for automation in made.values())
    [zombies] = [a for name, a in made.items() if "heartbeats" in name]
    assert zombies.trigger.within == timedelta(seconds=720)  # type: ignore[union-attr]
    stage.client.pause_automation(zombies.id)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}):
        make_automations(stage.client)
    again = {automation.id: automation for automation in stage.client.read_automations()}
    assert len(again) == 2 and not again[zombies.id].enabled
    assert again[zombies.id].trigger.within == timedelta(seconds=240)  # type: ignore[union-attr]
