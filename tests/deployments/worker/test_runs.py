"""What becomes of flow runs in a warm worker."""

import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling, Crashed

from deployments.prefect.control_runs import _is_heard
from deployments.worker.worker import CONTROL_QUEUE
from tests.deployments.worker import sample_flows as flows
from tests.deployments.worker.stage import Stage, Worker, alive, wait_for
from tests.support import local_http


def begin(shared: Stage, flow: object, **parameters: object) -> tuple[UUID, list[int]]:
    """A run that has written down its processes."""
    note = shared.note()
    flow_run_id = shared.run(flow, {"out": str(note)} | parameters)  # type: ignore[arg-type]
    wait_for(lambda: note.exists() and note.read_text().endswith("\n"))
    return flow_run_id, [int(line) for line in note.read_text().split()]


def cancel(shared: Stage, flow_run_id: UUID) -> None:
    """What the UI's button does."""
    shared.client.set_flow_run_state(flow_run_id, Cancelling())


def test_runs_share_children_and_leave_nothing_behind(shared: Stage, worker: Worker) -> None:
    children = wait_for(lambda: len(found := worker.children()) == 3 and found)
    for _ in range(2):
        shared.complete(flows.litter)
    for _ in range(2):
        pid, folder, variable, _ = shared.where()
        assert int(pid) in children
        assert (folder, variable) == (str(shared.folder), "")
    assert worker.children() == children


def test_output_is_shown_and_prints_are_logged(shared: Stage, worker: Worker) -> None:
    flow_run_id = shared.run(flows.talk, {"word": "hello"})
    shared.end(flow_run_id)
    wait_for(lambda: "complained hello" in worker.output)
    assert "printed hello" in worker.output
    wait_for(lambda: "printed hello" in shared.logs(flow_run_id))


def test_a_failed_run_is_failed_and_its_child_goes_on(shared: Stage, worker: Worker) -> None:
    children = worker.children()
    state = shared.end(shared.run(flows.fail))
    assert state.is_failed() and "as intended" in (state.message or "")
    note = shared.note()
    shared.complete(flows.second_time_lucky, {"out": str(note)})
    assert note.read_text() == "xx"
    assert worker.children() == children


def test_a_run_is_heard_of_from_its_beginning(shared: Stage, worker: Worker) -> None:
    """So that one which lasts is not taken for dead."""
    since = datetime.now(UTC)
    flow_run_id, _ = begin(shared, flows.snooze, seconds=60)
    wait_for(lambda: _is_heard(shared.client, shared.flow_run(flow_run_id), since))
    assert not _is_heard(shared.client, shared.flow_run(flow_run_id), since + timedelta(hours=1))
    cancel(shared, flow_run_id)
    assert shared.end(flow_run_id).is_cancelled()


def test_job_variables_get_a_process_of_their_own(shared: Stage, worker: Worker, tmp_path: Path) -> None:
    children = worker.children()
    variables = {"env": {"SAMPLE": "mine"}, "working_dir": str(tmp_path)}
    pid, folder, variable, _ = shared.where(job_variables=variables)
    assert int(pid) not in children
    assert (folder, variable) == (str(tmp_path), "mine")
    pid, _, _, _ = shared.where(job_variables={"command": f"{sys.executable} -m prefect.engine"})
    assert int(pid) not in children
    wait_for(lambda: worker.children() == children)


def test_a_cancelled_run_ends_and_the_next_finds_a_fresh_child(shared: Stage, worker: Worker) -> None:
    flow_run_id, (pid,) = begin(shared, flows.snooze, seconds=120)
    asked = time.monotonic()
    cancel(shared, flow_run_id)
    state = shared.end(flow_run_id)
    assert (state.type, state.name) == (StateType.CANCELLED, "Cancelled")
    assert time.monotonic() - asked < 15
    assert not alive(pid)
    assert int(shared.where()[0]) != pid


def test_a_cancelled_run_that_ignores_the_signal_is_killed(shared: Stage, worker: Worker) -> None:
    flow_run_id, (pid,) = begin(shared, flows.stubborn)
    cancel(shared, flow_run_id)
    assert shared.end(flow_run_id).is_cancelled()
    assert not alive(pid)


def test_cancellation_stops_what_the_run_has_started(shared: Stage, worker: Worker) -> None:
    flow_run_id, (pid, started) = begin(shared, flows.with_child_process)
    cancel(shared, flow_run_id)
    assert shared.end(flow_run_id).is_cancelled()
    wait_for(lambda: not alive(pid) and not alive(started))


def test_cancellation_runs_the_hooks_of_a_flow_that_has_some(shared: Stage, worker: Worker) -> None:
    flow_run_id, _ = begin(shared, flows.hooked)
    cancel(shared, flow_run_id)
    assert shared.end(flow_run_id).is_cancelled()
    assert (shared.folder / "hook").read_text() == "cancelled"


def test_a_run_that_times_out_fails_and_its_child_is_replaced(shared: Stage, worker: Worker) -> None:
    flow_run_id, (pid,) = begin(shared, flows.overtime)
    state = shared.end(flow_run_id)
    assert (state.type, state.name) == (StateType.FAILED, "TimedOut")
    wait_for(lambda: not alive(pid))
    shared.where()


@pytest.mark.parametrize(
    ("flow", "parameters", "meaning"),
    [
        (flows.die, {"number": int(signal.SIGKILL)}, "killed by SIGKILL: perhaps because the machine"),
        (flows.segfault, {}, "killed by SIGSEGV: a fault in native code"),
        (flows.vanish, {}, "exited with status 0"),
    ],
)
def test_a_run_whose_process_dies_is_crashed_with_the_meaning(
    shared: Stage, worker: Worker, flow: object, parameters: dict[str, object], meaning: str
) -> None:
    children = len(worker.children())
    flow_run_id = shared.run(flow, parameters)  # type: ignore[arg-type]
    assert shared.end(flow_run_id).is_crashed()
    wait_for(lambda: len(worker.children()) == children, 5)
    assert meaning in (shared.state(flow_run_id).message or "")


def test_an_idle_child_that_dies_is_replaced(shared: Stage, worker: Worker) -> None:
    before = wait_for(lambda: len(found := worker.children()) >= 3 and found)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(worker.children() - before) == len(before))
    shared.where()


def test_the_control_queue_has_a_slot_of_its_own(shared: Stage, worker: Worker) -> None:
    first, second = (begin(shared, flows.snooze, seconds=120)[0] for _ in range(2))
    waiting = shared.run(flows.where, {"out": str(shared.note())})
    shared.where(queue=CONTROL_QUEUE)
    assert not shared.state(waiting).is_final()
    control = shared.run(flows.snooze, {"seconds": 120}, queue=CONTROL_QUEUE)
    wait_for(lambda: shared.state(control).is_running())
    shared.where(queue=CONTROL_QUEUE)  # in the other slot, the child of which starts now at the latest
    cancel(shared, first)
    assert shared.end(waiting).is_completed()
    for flow_run_id in (second, control):
        cancel(shared, flow_run_id)
        assert shared.end(flow_run_id).is_cancelled()


def test_heartbeats_are_sent(shared: Stage, worker: Worker) -> None:
    flow_run_id = shared.run(flows.six)
    assert shared.end(flow_run_id).is_completed()
    resource = f"prefect.flow-run.{flow_run_id}"

    def heard() -> bool:
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [resource]}}
        answer = local_http.post(f"{shared.server.url}/events/filter", json={"filter": wanted}, trust_env=False)
        return bool(answer.json()["events"])

    wait_for(heard)
    workers = local_http.post(
        f"{shared.server.url}/work_pools/{shared.pool}/workers/filter", json={}, trust_env=False
    ).json()
    assert [each["status"] for each in workers] == ["ONLINE"]


def test_a_run_that_someone_else_has_ended_gives_its_slot_back(shared: Stage, worker: Worker) -> None:
    flow_run_id, (pid,) = begin(shared, flows.snooze, seconds=120)
    shared.client.set_flow_run_state(flow_run_id, Crashed(message="given up"), force=True)
    wait_for(lambda: not alive(pid))
    assert shared.state(flow_run_id).message == "given up"


def test_the_worker_lives_through_what_its_runs_do(shared: Stage, worker: Worker) -> None:
    """The fixture looks once more when all tests of this file are over."""
    for flow in (flows.fail, flows.vanish, flows.segfault):
        assert not shared.end(shared.run(flow)).is_completed()
    shared.where()
    assert worker.process.poll() is None
    assert "could not" not in worker.output
