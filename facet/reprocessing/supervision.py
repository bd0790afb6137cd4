"""Sees to it that a flow run works on the first active reprocessing, and that what is done to the run is done to it.

A flow run that died is replaced, and the new one goes on where it was; one that was cancelled in the Prefect UI cancels
its reprocessing, one that was suspended pauses it. Any number of processes may look at once: the key under which a run
is created is committed first.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy import select

from facet.flow_runs import FlowRunStatus
from facet.persistence.database import Database
from facet.persistence.models import Reprocessing, ReprocessingState
from facet.reprocessing.reprocessings import ReprocessingOver, Reprocessings

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 300
_TO_COME = (FlowRunStatus.UNDERWAY, FlowRunStatus.STALE, FlowRunStatus.STRANDED)
_AT_ONCE = (FlowRunStatus.COMPLETED, FlowRunStatus.ABSENT, FlowRunStatus.STRANDED)
"""Statuses after which the next run waits for nothing: the last one did not fail."""


class ReprocessRuns(Protocol):
    """Prefect, as far as it is needed here. Every method raises Unavailable when it does not answer."""

    def create_reprocess(self, reprocessing_id: UUID, key: str) -> UUID:
        """Create its flow run; the same `key` always gives the same one."""
        ...

    def statuses(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, FlowRunStatus]: ...

    def crash(self, flow_run_id: UUID, reason: str) -> None: ...


class ReprocessSupervision:
    """One look is `look`. Raises Unavailable when the database or Prefect does not answer."""

    def __init__(self, database: Database, runs: ReprocessRuns) -> None:
        self._database = database
        self._reprocessings = Reprocessings(database)
        self._runs = runs

    def look(self) -> bool:
        """Returns whether a flow run was created."""
        with self._database.read() as session:
            row = session.scalars(
                select(Reprocessing)
                .where(Reprocessing.state == ReprocessingState.ACTIVE)
                .order_by(Reprocessing.created_at, Reprocessing.id)
                .limit(1)
            ).one_or_none()
            now = self._database.now(session)
        if row is None:
            return False
        if row.flow_run_id is None:
            return row.run_due_at <= now and self._create(row)
        status = self._runs.statuses([row.flow_run_id])[row.flow_run_id]
        if status is FlowRunStatus.UNDERWAY and row.lease_until is None:
            return False
        if status in _TO_COME:
            if row.lease_until and row.lease_until > now:  # however long it takes
                return False
            self._runs.crash(row.flow_run_id, "The run's process has stopped renewing its lease, or never began.")
            status = status if status is FlowRunStatus.STRANDED else FlowRunStatus.CRASHED
        self._follow(row, status)
        return False

    def _create(self, row: Reprocessing) -> bool:
        flow_run_id = self._runs.create_reprocess(row.id, f"reprocessing-{row.id}-{row.runs}")
        with self._database.write() as session:
            row = session.get_one(Reprocessing, row.id, with_for_update=True)
            if row.flow_run_id is None:  # unless the run itself was quicker
                row.flow_run_id = flow_run_id
        log.info("Flow run %s takes reprocessing %s.", flow_run_id, row.id)
        return True

    def _follow(self, row: Reprocessing, status: FlowRunStatus) -> None:
        """Do to the reprocessing what was done to its flow run."""
        if status is FlowRunStatus.CANCELLED:
            try:
                self._reprocessings.cancel(row.id)
            except ReprocessingOver:
                return
            log.info("Reprocessing %s is cancelled, as its flow run is.", row.id)
            return
        with self._database.write() as session:
            now = self._database.now(session)
            former, row = row, session.get_one(Reprocessing, row.id, with_for_update=True)
            if row.state is not ReprocessingState.ACTIVE or row.flow_run_id != former.flow_run_id:
                return
            if status is FlowRunStatus.SUSPENDED:
                row.state = ReprocessingState.PAUSED
                return
            log.info("Flow run %s of reprocessing %s is %s; another goes on with it.", row.flow_run_id, row.id, status)
            row.flow_run_id = row.lease_until = None
            row.runs += 1
            pause = 0 if status in _AT_ONCE else min(2 ** min(row.runs, 10), _LONGEST_PAUSE)
            row.run_due_at = now + timedelta(seconds=pause)
