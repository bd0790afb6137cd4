"""What Prefect's flow runs and their states mean to the dispatcher."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from deployments.prefect.flow_runs import _fate
from facet.flow_runs import Fate

NOW = datetime.now(UTC)


def fate_of(state: State, **of_run: object) -> Fate:
    placed = {"work_queue_id": uuid4(), "work_pool_name": "faces"}
    run = FlowRun.model_validate({"flow_id": uuid4(), "state": state} | placed | of_run)
    return _fate(run, NOW - timedelta(seconds=60), "faces")


@pytest.mark.parametrize(
    ("state", "seconds", "fate"),
    [
        (StateType.SCHEDULED, 10_000, Fate.UNDERWAY),
        (StateType.PENDING, 30, Fate.UNDERWAY),
        (StateType.PENDING, 90, Fate.STALE),
        (StateType.RUNNING, 90, Fate.STALE),
        (StateType.CRASHED, 90, Fate.CRASHED),
        (StateType.CANCELLED, 0, Fate.CANCELLED),
    ],
)
def test_a_run_is_stale_when_its_worker_took_it_too_long_ago(state: StateType, seconds: int, fate: Fate) -> None:
    """However long it waits for a worker, it is not."""
    assert fate_of(State(type=state, timestamp=NOW - timedelta(seconds=seconds))) is fate


@pytest.mark.parametrize("where", [{"work_queue_id": None}, {"work_pool_name": "another"}])
def test_a_run_that_waits_where_no_worker_takes_it_is_stranded(where: dict[str, object]) -> None:
    """Its work queue was deleted, or its deployment moved to another pool; one that a worker has taken goes on."""
    assert fate_of(State(type=StateType.SCHEDULED), **where) is Fate.STRANDED
    assert fate_of(State(type=StateType.RUNNING), **where) is Fate.UNDERWAY
