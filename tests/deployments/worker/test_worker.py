"""How the worker ends, and how it outlives the server and gets on with others."""

import signal
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling, Scheduled

from deployments.prefect.flow_runs import _run_status
from facet.flow_runs import FlowRunStatus
from tests.deployments.worker import sample_flows as flows
from tests.deployments.worker.stage import Server, Stage, alive, wait_for
from tests.faults.proxy import FaultProxy, Mode, Way


def snooze(stage: Stage, seconds: float) -> tuple[UUID, Path]:
    note = stage.note()
    return stage.run(flows.snooze, {"seconds": seconds, "out": str(note)}), note


def begun(note: Path, times: int = 1) -> list[int]:
    """The processes that have begun the run."""
    return wait_for(
        lambda: note.exists() and len(pids := [int(line) for line in note.read_text().split()]) == times and pids
    )


def test_sigterm_lets_runs_end_and_hands_back_those_that_take_too_long(stage: Stage) -> None:
    stage.deploy(flows.snooze)
    with stage.warm_worker(slots=2, FACET_WORKER_GRACE_SECONDS="8") as worker:
        (short, short_note), (long, long_note) = snooze(stage, 5), snooze(stage, 20)
        begun(short_note), begun(long_note)
        worker.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "takes no more flow runs" in worker.output)
        late = stage.run(flows.snooze, {"seconds": 0})
        assert worker.process.wait(timeout=30) == 0
        assert stage.state(short).is_completed()
        state = stage.state(long)
        assert (state.type, state.name) == (StateType.SCHEDULED, "AwaitingRetry")
        assert stage.state(late).is_scheduled()
        assert not any(alive(pid) for pid in begun(short_note) + begun(long_note))
    with stage.warm_worker():
        begun(long_note, times=2)
        stage.client.set_flow_run_state(long, Cancelling())
        assert stage.end(long).is_cancelled()
        assert stage.end(late).is_completed()


def test_children_of_a_killed_worker_end_and_so_does_their_run(stage: Stage) -> None:
    stage.deploy(flows.snooze)
    with stage.warm_worker(slots=2) as worker:
        flow_run_id, note = snooze(stage, 120)
        begun(note)
        children = wait_for(lambda: len(found := worker.children()) == 3 and found)
        worker.process.kill()
        worker.process.wait()
        wait_for(lambda: not any(alive(pid) for pid in children), 10)
        assert stage.end(flow_run_id).is_crashed()


def test_the_worker_outlives_a_restart_of_the_server(stage: Stage, server: Server) -> None:
    stage.deploy(flows.snooze)
    with stage.warm_worker(slots=1) as worker:
        across, note = snooze(stage, 20)
        pids = begun(note)
        try:
            server.stop()
            wait_for(lambda: "does not answer" in worker.output)
        finally:
            server.start()
        assert stage.end(across).is_completed()
        assert begun(note) == pids
        cancelled, note = snooze(stage, 120)
        assert begun(note) == pids
        stage.client.set_flow_run_state(cancelled, Cancelling())
        assert stage.end(cancelled).is_cancelled()
        assert worker.process.poll() is None


def test_what_was_deleted_and_made_anew_is_served_as_before_by_the_same_children(stage: Stage) -> None:
    """A deployment; then the work pool, and its events as well: polls are rare here."""
    stage.deploy(flows.snooze)
    deleted = stage.deploy(flows.finish)
    with stage.warm_worker(PREFECT_WORKER_QUERY_SECONDS="120") as worker:
        stage.complete(flows.snooze, {"seconds": 0})
        children = wait_for(lambda: len(found := worker.children()) == 2 and found)
        stage.client.delete_deployment(deleted)
        stage.await_heartbeats(2)  # by the second, it has done what follows from the first
        assert worker.children() == children
        stage.client.delete_work_pool(stage.pool)
        wait_for(lambda: "created" in worker.output)  # as Prefect's worker does, without any deployment
        stage.make_pool()
        runs: list[UUID] = []

        def is_heard() -> bool:
            runs.append(stage.run(flows.snooze, {"seconds": 0}))
            time.sleep(1)
            return any(stage.state(run).is_completed() for run in runs)

        wait_for(is_heard)
        assert worker.children() == children
        assert worker.process.poll() is None


def test_a_worker_that_is_not_let_in_any_more_lets_its_runs_end(stage: Stage, server: Server) -> None:
    stage.deploy(flows.finish)
    proxy, note = FaultProxy(server.port), stage.note()
    with (
        stage.warm_worker(PREFECT_API_URL=f"http://127.0.0.1:{proxy.port}/api") as worker,
        closing(proxy),
    ):
        stage.run(flows.finish, {"seconds": 4, "out": str(note)})
        wait_for(note.exists)
        with proxy.failing(Mode(Way.STATUS, status=401)):
            assert worker.process.wait(timeout=60) != 0, "so that it is started again, with another password"
    assert note.read_text() == "finished"


def test_a_run_of_which_the_deployment_is_gone_is_not_taken_for_cancelled(stage: Stage) -> None:
    """A worker cancels it, though nobody has asked for that."""
    deployment_id = stage.deploy(flows.snooze)
    waits = Scheduled(name="AwaitingConcurrencySlot")  # of the runs that wait, such ones outlive their deployment
    flow_run_id = stage.client.create_flow_run_from_deployment(deployment_id, state=waits).id
    stage.client.delete_deployment(deployment_id)
    with stage.warm_worker():
        assert stage.end(flow_run_id).is_cancelled()
    assert _run_status(stage.flow_run(flow_run_id), datetime.now(UTC)) is FlowRunStatus.ABSENT


def test_warm_and_stock_workers_share_a_pool(stage: Stage) -> None:
    stage.deploy(flows.snooze)
    with stage.warm_worker() as first:
        with stage.warm_worker() as second:
            pids = {begun(note)[0]: flow_run_id for flow_run_id, note in [snooze(stage, 120) for _ in range(2)]}
            (in_first,), (in_second,) = (pids.keys() & worker.children() for worker in (first, second))
            stage.client.set_flow_run_state(pids[in_second], Cancelling())
            assert stage.end(pids[in_second]).is_cancelled()
        with stage.stock_worker():
            flow_run_id, note = snooze(stage, 0)
            assert stage.end(flow_run_id, 120).is_completed()
            assert begun(note)[0] not in first.children()
            assert stage.state(pids[in_first]).is_running()


def test_what_waits_for_a_slot_begins_when_one_is_released_though_polls_are_rare(stage: Stage) -> None:
    stage.deploy(flows.snooze)
    with stage.warm_worker(PREFECT_WORKER_QUERY_SECONDS="120"):
        _, first = snooze(stage, 3)
        begun(first)
        waiting, _ = snooze(stage, 0)
        assert stage.end(waiting, 60).is_completed()
