"""What Prefect's flow runs and their states mean to the dispatcher."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from deployments.prefect.flow_runs import _run_status
from facet.flow_runs import FlowRunStatus

NOW = datetime.now(UTC)


def status_of(state: State, **of_run: object) -> FlowRunStatus:
    placed = {"work_queue_id": uuid4(), "work_pool_name": "faces"}
    run = FlowRun.model_validate({"flow_id": uuid4(), "state": state} | placed | of_run)
    return _run_status(run, NOW - timedelta(seconds=60), "faces")


@pytest.mark.parametrize(
    ("state", "seconds", "run_status"),
    [
        (StateType.SCHEDULED, 10_000, FlowRunStatus.UNDERWAY),
        (StateType.PENDING, 30, FlowRunStatus.UNDERWAY),
        (StateType.PENDING, 90, FlowRunStatus.STALE),
        (StateType.RUNNING, 90, FlowRunStatus.STALE),
        (StateType.CRASHED, 90, FlowRunStatus.CRASHED),
        (StateType.CANCELLED, 0, FlowRunStatus.CANCELLED),
    ],
)
def test_a_run_is_stale_when_its_worker_took_it_too_long_ago(
    state: StateType, seconds: int, run_status: FlowRunStatus
) -> None:
    """However long it waits for a worker, it is not."""
    assert status_of(State(type=state, timestamp=NOW - timedelta(seconds=seconds))) is run_status


@pytest.mark.parametrize("where", [{"work_queue_id": None}, {"work_pool_name": "another"}])
def test_a_run_that_waits_where_no_worker_takes_it_is_stranded(where: dict[str, object]) -> None:
    """Its work queue was deleted, or its deployment moved to another pool; one that a worker has taken goes on."""
    assert status_of(State(type=StateType.SCHEDULED), **where) is FlowRunStatus.STRANDED
    assert status_of(State(type=StateType.RUNNING), **where) is FlowRunStatus.UNDERWAY
