"""What Prefect's states mean to the dispatcher."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.objects import State, StateType

from deployments.flow_runs import _fate
from facet.dispatch import Fate

NOW = datetime.now(UTC)


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
    then = State(type=state, timestamp=NOW - timedelta(seconds=seconds))
    assert _fate(then, NOW - timedelta(seconds=60)) is fate
