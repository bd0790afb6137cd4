"""That a flow run works on each reprocessing; Prefect is a record of calls here, and real in tests/flows."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from facet.flow_runs import FlowRunStatus
from facet.persistence.database import Database
from facet.persistence.models import Reprocessing
from facet.persistence.models import ReprocessingState as State
from facet.reprocessing.feeder import Feeder
from facet.reprocessing.reprocessings import Reprocessings
from facet.reprocessing.request import ReprocessingRequest
from facet.reprocessing.supervision import ReprocessSupervision
from tests.facet.reprocessing.conftest import NEW


class RecordedRuns:
    def __init__(self) -> None:
        self.created: dict[str, UUID] = {}
        self.run_status: dict[UUID, FlowRunStatus] = {}
        self.crashed: list[UUID] = []

    def create_reprocess(self, reprocessing_id: UUID, key: str) -> UUID:
        return self.created.setdefault(key, uuid4())

    def statuses(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, FlowRunStatus]:
        return {i: self.run_status.get(i, FlowRunStatus.UNDERWAY) for i in flow_run_ids}

    def crash(self, flow_run_id: UUID, reason: str) -> None:
        self.crashed.append(flow_run_id)


@pytest.fixture
def runs() -> RecordedRuns:
    return RecordedRuns()


@pytest.fixture
def supervision(database: Database, runs: RecordedRuns) -> ReprocessSupervision:
    return ReprocessSupervision(database, runs)


def make_due(database: Database) -> None:
    with database.write() as session:
        past = database.now(session) - timedelta(seconds=1)
        session.execute(update(Reprocessing).values(run_due_at=past))


def only(runs: RecordedRuns) -> UUID:
    [flow_run_id] = runs.created.values()
    return flow_run_id


def test_a_flow_run_is_made_once_and_for_the_first_only(
    database: Database, reprocessings: Reprocessings, supervision: ReprocessSupervision, runs: RecordedRuns
) -> None:
    first, _ = (reprocessings.create(ReprocessingRequest()) for _ in range(2))
    assert supervision.look() and not supervision.look()
    assert not ReprocessSupervision(database, runs).look()
    assert list(runs.created) == [f"reprocessing-{first.id}-0"]


def test_a_creator_that_died_before_it_noted_the_run_makes_no_second_one(
    database: Database, reprocessings: Reprocessings, supervision: ReprocessSupervision, runs: RecordedRuns
) -> None:
    reprocessings.create(ReprocessingRequest())
    supervision.look()
    with database.write() as session:
        session.execute(update(Reprocessing).values(flow_run_id=None))
    supervision.look()
    assert len(runs.created) == 1


@pytest.mark.parametrize("how", ["crashed", "lapsed"])
def test_a_run_that_died_is_replaced(
    database: Database,
    reprocessings: Reprocessings,
    supervision: ReprocessSupervision,
    feeder: Feeder,
    runs: RecordedRuns,
    how: str,
) -> None:
    asked = reprocessings.create(ReprocessingRequest())
    supervision.look()
    feeder.begin(asked.id, only(runs), NEW)
    supervision.look()
    assert not runs.crashed
    if how == "crashed":
        runs.run_status[only(runs)] = FlowRunStatus.CRASHED
    else:
        with database.write() as session:
            session.execute(update(Reprocessing).values(lease_until=Reprocessing.created_at))
    supervision.look()
    assert runs.crashed == ([only(runs)] if how == "lapsed" else [])
    supervision.look()
    assert len(runs.created) == 1, "not at once"
    make_due(database)
    supervision.look()
    assert list(runs.created) == [f"reprocessing-{asked.id}-{n}" for n in range(2)]


@pytest.mark.parametrize("run_status", [FlowRunStatus.UNDERWAY, FlowRunStatus.STALE])
def test_a_run_that_holds_its_lease_goes_on_however_long_it_takes(
    reprocessings: Reprocessings,
    supervision: ReprocessSupervision,
    feeder: Feeder,
    runs: RecordedRuns,
    run_status: FlowRunStatus,
) -> None:
    """After two minutes Running it looks stale in Prefect."""
    asked = reprocessings.create(ReprocessingRequest())
    supervision.look()
    feeder.begin(asked.id, only(runs), NEW)
    runs.run_status[only(runs)] = run_status
    supervision.look()
    found = reprocessings.find(asked.id)
    assert found and found.flow_run_id == only(runs)
    assert not runs.crashed


@pytest.mark.parametrize(("run_status", "crashed"), [(FlowRunStatus.ABSENT, 0), (FlowRunStatus.STRANDED, 1)])
def test_a_run_that_was_deleted_or_stranded_is_replaced_at_once(
    reprocessings: Reprocessings,
    supervision: ReprocessSupervision,
    runs: RecordedRuns,
    run_status: FlowRunStatus,
    crashed: int,
) -> None:
    asked = reprocessings.create(ReprocessingRequest())
    supervision.look()
    runs.run_status[only(runs)] = run_status
    supervision.look()
    assert len(runs.crashed) == crashed
    assert supervision.look()
    assert list(runs.created) == [f"reprocessing-{asked.id}-{n}" for n in range(2)]


@pytest.mark.parametrize(
    ("run_status", "state"), [(FlowRunStatus.CANCELLED, State.CANCELLED), (FlowRunStatus.SUSPENDED, State.PAUSED)]
)
def test_what_is_done_to_the_run_in_the_ui_is_done_to_the_reprocessing(
    database: Database,
    reprocessings: Reprocessings,
    supervision: ReprocessSupervision,
    feeder: Feeder,
    runs: RecordedRuns,
    run_status: FlowRunStatus,
    state: State,
) -> None:
    asked = reprocessings.create(ReprocessingRequest())
    supervision.look()
    runs.run_status[only(runs)] = run_status
    supervision.look()
    found = reprocessings.find(asked.id)
    assert found and found.state is state
    assert not supervision.look()
    if state is State.PAUSED:  # Resume in the UI starts the same run again
        assert feeder.begin(asked.id, only(runs), NEW).state is State.ACTIVE


def test_resumed_elsewhere_a_new_run_goes_on_and_the_suspended_one_does_not_pause_it_again(
    database: Database, reprocessings: Reprocessings, supervision: ReprocessSupervision, runs: RecordedRuns
) -> None:
    asked = reprocessings.create(ReprocessingRequest())
    supervision.look()
    runs.run_status[only(runs)] = FlowRunStatus.SUSPENDED
    supervision.look()
    reprocessings.resume(asked.id)
    assert supervision.look() and len(runs.created) == 2
    found = reprocessings.find(asked.id)
    assert found and found.state is State.ACTIVE
