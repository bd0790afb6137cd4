"""Asks Prefect for a run of `deliver-callbacks` when a callback is due.

A flow run costs seconds of CPU, so none is made while nothing is due, and none while one is on its way: while no worker
is there, one run waits, and not one a second. The deployment's own schedule makes good what is missed here.
"""

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Crashed

from deployments.names import DELIVER_DEPLOYMENT
from deployments.placement import place
from deployments.prefect_calls import PrefectCalls
from facet.webhooks import Deliveries

_UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING]
_SAME_SECONDS = 5
_LONGEST = timedelta(minutes=3)
"""A run goes on for two minutes and its last attempts' time; one that seems to take longer has died without a word."""


class DeliveryRuns:
    """One look is `look`."""

    def __init__(self, deliveries: Deliveries, pending_seconds: float = 120) -> None:
        self._deliveries = deliveries
        self._pending = timedelta(seconds=pending_seconds)
        self._calls = PrefectCalls()

    def look(self) -> bool:
        """Make a run if a callback is due and none is on its way. Returns whether it did. Raises Unavailable."""
        if not self._deliveries.is_due():
            return False
        with self._calls.client() as client:
            return self._create(client)

    def _create(self, client: SyncPrefectClient) -> bool:
        deployment_id = place(client, DELIVER_DEPLOYMENT).id
        now = datetime.now(UTC)
        unfinished = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
                expected_start_time=FlowRunFilterExpectedStartTime(before_=now),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=10,
        )
        if any(self._is_alive(run, now) for run in unfinished):
            return False
        for run in unfinished:  # else it would hold the deployment's only slot, and the new run be cancelled
            client.set_flow_run_state(run.id, Crashed(message="It has died, or waits in no work queue."), force=True)
        # Several API processes that look at the same time make one run.
        key = f"due-{int(now.timestamp() // _SAME_SECONDS)}"
        client.create_flow_run_from_deployment(deployment_id, idempotency_key=key)
        return True

    def _is_alive(self, run: FlowRun, now: datetime) -> bool:
        """Whether it waits for a worker in a work queue, or was taken by one not too long ago."""
        if run.state is None or run.state.type is StateType.SCHEDULED:
            return run.work_queue_id is not None
        return run.state.timestamp > now - (self._pending if run.state.type is StateType.PENDING else _LONGEST)
