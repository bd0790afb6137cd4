"""The automations on a real Prefect server, with a stock worker whose deaths nobody reports."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from deployments.automations import crash_zombies, make_automations, zombie_after
from tests.deployments.warm_worker import sample_flows
from tests.deployments.warm_worker.stage import Server, Stage, wait_for

SHORTEST = timedelta(seconds=10)  # that Prefect allows


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        server.start()
        yield Stage(server, tmp_path_factory.mktemp("stage"))
    finally:
        server.stop()


def fired(stage: Stage, flow_run_id: UUID) -> list[str]:
    """What automations did about this flow run."""
    related = {"related": {"id": [f"prefect.flow-run.{flow_run_id}"]}, "event": {"prefix": ["prefect.automation."]}}
    answer = stage.client.request("POST", "/events/filter", json={"filter": related})
    return [event["event"] for event in answer.json()["events"]]


def test_a_flow_run_that_dies_with_its_worker_is_crashed_and_others_are_left_alone(stage: Stage) -> None:
    stage.client.create_automation(crash_zombies(SHORTEST))
    ended = stage.run(sample_flows.snooze, {"seconds": 0.1}, tags=["facet"])
    strange = stage.run(sample_flows.snooze, {"seconds": 600}, tags=["another"])
    with stage.stock_worker(limit=3) as worker:
        stage.end(ended)
        dying = stage.run(sample_flows.snooze, {"seconds": 600}, tags=["facet"])
        wait_for(lambda: all(stage.state(i).is_running() for i in (dying, strange)))
        processes = [worker_process := psutil.Process(worker.process.pid)]
        processes += worker_process.children(recursive=True)
        for process in processes:  # the worker first, so that it reports nothing
            process.kill()
    state = stage.end(dying)
    assert (state.type, state.message) == (StateType.CRASHED, "The flow run's heartbeats have stopped.")
    assert stage.state(strange).is_running(), "flow runs that are not Facet's are not touched"
    assert stage.state(ended).is_completed() and fired(stage, ended) == []
    wait_for(lambda: fired(stage, dying))


def test_automations_are_made_once_changed_in_place_and_stay_paused(stage: Stage) -> None:
    [former] = [a for a in stage.client.read_automations() if a.name.startswith("facet:")] or [None]
    make_automations(stage.client)
    [made] = stage.client.read_automations_by_name(crash_zombies(SHORTEST).name)
    assert made.trigger.within == zombie_after() and made.enabled  # type: ignore[union-attr]
    assert former is None or made.id == former.id
    stage.client.pause_automation(made.id)
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}):
        make_automations(stage.client)
    [changed] = stage.client.read_automations_by_name(made.name)
    assert (changed.id, changed.enabled) == (made.id, False)
    assert changed.trigger.within == timedelta(seconds=240)  # type: ignore[union-attr]
