"""Flow runs of the control deployments: finds those that have died without a word, and ends them.

A dead one holds its deployment's only slot for ever where Prefect has forgotten the lease on it, and each new one is
cancelled. Prefect's automations forget it too when they are changed, so each API process looks by itself.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Cancelled, Crashed

from deployments.prefect.automations import longest_silence
from deployments.prefect.calls import PrefectCalls
from deployments.prefect.names import CONTROL_DEPLOYMENTS, DELIVER_DEPLOYMENT
from deployments.prefect.placement import place

log = logging.getLogger(f"facet.{__name__}")

LOOK_SECONDS = 30.0

_TAKEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_LONGEST = {DELIVER_DEPLOYMENT: timedelta(minutes=3)}
"""A run of it goes on for two minutes and its last attempts' time; one that seems to take longer has died."""


class ControlRuns:
    """Every method raises Unavailable when Prefect does not answer, or does not know the deployments."""

    def __init__(self, pending_seconds: float = 120) -> None:
        self._pending = timedelta(seconds=pending_seconds)
        self._calls = PrefectCalls()

    def look(self) -> int:
        """End the dead ones of all control deployments; returns how many."""
        with self._calls.client() as client:
            return sum(self._end_dead(client, name, _read(client, name, _TAKEN)) for name in CONTROL_DEPLOYMENTS)

    def is_under_way(self, deployment: str) -> bool:
        """Whether one of its runs is alive, or waits for a worker, when the dead ones are ended."""
        with self._calls.client() as client:
            runs = _read(client, deployment, [StateType.SCHEDULED, *_TAKEN])
            return len(runs) > self._end_dead(client, deployment, runs)

    def create(self, deployment: str, key: str) -> None:
        """Create a run of it; the same `key` always gives the same one."""
        with self._calls.client() as client:
            deployment_id = place(client, deployment).id
            client.create_flow_run_from_deployment(deployment_id, idempotency_key=key)

    def _end_dead(self, client: SyncPrefectClient, deployment: str, runs: Sequence[FlowRun]) -> int:
        now = datetime.now(UTC)
        dead = [run for run in runs if self._has_lasted(deployment, run, now)]
        silent = _silent(client, [run for run in runs if run not in dead])
        for run in [*dead, *silent]:
            log.warning("Flow run %s of %s has died without a word, and is ended.", run.id, deployment)
            end(client, run, "The run has died without a word.")
        return len(dead) + len(silent)

    def _has_lasted(self, deployment: str, run: FlowRun, now: datetime) -> bool:
        """Whether it has been in its state for longer than a live one can be."""
        if run.state is None or run.state.type is StateType.SCHEDULED:
            return run.work_queue_id is None  # deleted under it: no worker ever takes it
        if run.state.type is StateType.PENDING:
            return run.state.timestamp < now - self._pending
        longest = _LONGEST.get(deployment)
        return longest is not None and run.state.timestamp < now - longest


def end_runs(client: SyncPrefectClient, work_pool: str, before: datetime) -> list[str]:
    """End the pool's runs that a worker took before then: all its processes have ended since. Says so."""
    runs = client.read_flow_runs(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_TAKEN))),
    )
    dead = [run for run in runs if run.state and run.state.timestamp < before]
    for run in dead:
        end(client, run, "The run's process has ended with the stack.")
    return [f"{len(dead)} flow run(s) ended that were in progress when the stack ended."] if dead else []


def _read(client: SyncPrefectClient, deployment: str, states: list[StateType]) -> list[FlowRun]:
    flow, _, name = deployment.partition("/")
    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=20,
    )


def _silent(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> list[FlowRun]:
    """Those that have begun, and of which nothing was heard for too long."""
    silence = longest_silence()
    if silence is None:
        return []
    since = datetime.now(UTC) - silence
    begun = [run for run in runs if run.state and run.state.type not in (StateType.SCHEDULED, StateType.PENDING)]
    return [run for run in begun if run.state.timestamp < since and not _is_heard(client, run, since)]  # type: ignore[union-attr]


def _is_heard(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    heartbeats = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    return bool(client.read_events(heartbeats, limit=1).events)


def end(client: SyncPrefectClient, run: FlowRun, reason: str) -> None:
    """Tell Prefect that the run is dead; one that was being cancelled is cancelled with that."""
    kind = Cancelled if run.state and run.state.is_cancelling() else Crashed
    client.set_flow_run_state(run.id, kind(message=reason), force=True)
