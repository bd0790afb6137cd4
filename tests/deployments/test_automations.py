"""The automations on a real Prefect server, with a stock worker whose death nobody reports."""

from collections.abc import Iterator
from datetime import timedelta

import psutil
import pytest
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Pending

from deployments.automations import crash_unstarted, crash_zombies, make_automations
from tests.deployments.warm_worker import sample_flows
from tests.deployments.warm_worker.stage import Server, Stage, wait_for

pytestmark = pytest.mark.timeout(300)

SHORTEST = timedelta(seconds=10)  # that Prefect allows


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        server.start()
        yield Stage(server, tmp_path_factory.mktemp("stage"))
    finally:
        server.stop()


def test_flow_runs_that_die_without_a_word_are_crashed_and_others_are_left_alone(stage: Stage) -> None:
    stage.client.create_automation(crash_zombies(SHORTEST))
    with stage.stock_worker(limit=3) as worker:
        ended = stage.run(sample_flows.snooze, {"seconds": 0.1}, tags=["facet"])
        strange = stage.run(sample_flows.snooze, {"seconds": 600}, tags=["another"])
        stage.end(ended)
        dying = stage.run(sample_flows.snooze, {"seconds": 600}, tags=["facet"])
        wait_for(lambda: all(stage.state(i).is_running() for i in (dying, strange)))
        processes = [worker_process := psutil.Process(worker.process.pid)]
        processes += worker_process.children(recursive=True)
        for process in processes:  # the worker first, so that it reports nothing
            process.kill()
    stage.client.create_automation(crash_unstarted(SHORTEST))
    unstarted = stage.client.create_flow_run_from_deployment(
        stage.deploy(sample_flows.where, tags=["facet"]),
        parameters={"out": ""},
        state=Pending(),  # as a worker leaves it that dies now
    ).id
    state = stage.end(dying)
    assert (state.type, state.message) == (StateType.CRASHED, "The flow run's heartbeats have stopped.")
    state = stage.end(unstarted)
    assert (state.type, state.message) == (
        StateType.CRASHED,
        "The flow run was taken by a worker and has not begun.",
    )
    assert stage.state(strange).is_running(), "flow runs that are not Facet's are not touched"
    assert stage.state(ended).is_completed()


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
