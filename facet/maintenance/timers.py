"""The audit of what the dispatchers' timers keep right: leases, runs, and the images of runs that are over.

It looks twice with a pause between, for timers mend such things within seconds: what both looks find, they missed.
"""

import logging
import time
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from facet.flow_runs import FlowRuns, is_over
from facet.maintenance.findings import Finding
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Image, ImageStatus, Run, RunState
from facet.settings import Settings
from facet.work.dispatcher import Dispatcher

log = logging.getLogger(__name__)

PAUSE = 10.0
"""Seconds between the two looks; a timer comes round several times in them."""

_MOST = 200

_LAPSED = "Runs whose lease has ended"
_UNCREATED = "Batches without their flow run"
_OVER = "Runs that are over in Prefect and not here"
_STUCK = "Flow runs that Prefect takes to be alive, and are not"
_HELD = "Images held by no live run"
_WAITING = "Images that wait though a slot is free"

_REMEDIES = {
    _LAPSED: "ended, and their images let go on",
    _UNCREATED: "created",
    _OVER: "ended, and their images let go on",
    _STUCK: "reported to Prefect as crashed",
    _HELD: "put back in the queue, uncharged",
    _WAITING: "dispatched",
}
_IN_FLIGHT = Run.state.in_((RunState.RESERVED, RunState.RUNNING))


def _is_held() -> ColumnElement[bool]:
    """An image that no live run holds and no dispatcher takes."""
    return and_(
        Image.deleted_at.is_(None),
        or_(
            and_(Image.status == ImageStatus.PROCESSING, Image.run_id.is_(None)),
            and_(
                Image.status.in_((ImageStatus.QUEUED, ImageStatus.PROCESSING)),
                Image.run_id.in_(select(Run.id).where(Run.state == RunState.OVER)),
            ),
        ),
    )


class TimerAudit:
    """One audit is `run`. It raises Unavailable when the database or Prefect does not answer."""

    def __init__(self, database: Database, dispatcher: Dispatcher, flow_runs: FlowRuns, settings: Settings) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._flow_runs = flow_runs
        self._settings = settings

    def run(self, pause: float = PAUSE) -> list[Finding]:
        missed = self._look()
        if any(missed.values()):
            time.sleep(pause)
            second = self._look()
            missed = {kind: ids & second[kind] for kind, ids in missed.items()}
        left: dict[str, set[UUID]] = {kind: set() for kind in missed}
        if any(missed.values()):
            self._mend(missed)
            third = self._look()
            left = {kind: ids & third[kind] for kind, ids in missed.items()}
        findings = []
        for kind, ids in missed.items():
            finding = Finding(kind, _REMEDIES[kind], timers=True, mended=len(ids - left[kind]))
            for missed_id in sorted(ids):
                finding.note(missed_id)
            findings.append(finding)
        return findings

    def _look(self) -> dict[str, set[UUID]]:
        with self._database.read() as session:
            found = {
                _LAPSED: _ids(session, Run.id, Run.state == RunState.RUNNING, Run.lease_until < utcnow()),
                _UNCREATED: _ids(session, Run.id, Run.state == RunState.RESERVED, Run.flow_run_id.is_(None)),
                _HELD: _ids(session, Image.id, _is_held()),
                _WAITING: self._waiting(session),
            }
            in_flight = {
                flow_run_id: (run_id, state)
                for run_id, flow_run_id, state in session.execute(
                    select(Run.id, Run.flow_run_id, Run.state).where(_IN_FLIGHT, Run.flow_run_id.is_not(None))
                )
                if flow_run_id
            }
        statuses = self._flow_runs.statuses(list(in_flight)) if in_flight else {}
        found[_OVER] = {run_id for i, (run_id, state) in in_flight.items() if is_over(statuses[i], state)}
        found[_STUCK] = self._stuck()
        return found

    def _waiting(self, session: Session) -> set[UUID]:
        in_flight = session.scalar(select(func.count()).select_from(Run).where(_IN_FLIGHT)) or 0
        if in_flight >= self._settings.max_runs:
            return set()
        return _ids(
            session,
            Image.id,
            Image.status == ImageStatus.QUEUED,
            Image.run_id.is_(None),
            Image.deleted_at.is_(None),
            Image.available_at <= utcnow(),
        )

    def _stuck(self) -> set[UUID]:
        """Flow runs that have not moved for as long as a run may take: dead before they started, or after they ended.

        One of which the run is alive here is none: its lease and its deadline see to it.
        """
        underway = self._flow_runs.underway(self._settings.run_seconds)
        if not underway:
            return set()
        with self._database.read() as session:
            states = {
                flow_run_id: state
                for flow_run_id, state in session.execute(
                    select(Run.flow_run_id, Run.state).where(Run.flow_run_id.in_([u.flow_run_id for u in underway]))
                )
            }
        return {
            flow_run.flow_run_id
            for flow_run in underway
            if not flow_run.started or states.get(flow_run.flow_run_id, RunState.OVER) is RunState.OVER
        }

    def _mend(self, missed: dict[str, set[UUID]]) -> None:
        for kind, ids in missed.items():
            if ids:
                log.warning("%s: %d that the dispatchers' timers missed.", kind, len(ids))
        for flow_run_id in missed[_STUCK]:
            self._flow_runs.crash(flow_run_id, "The run has not moved for longer than a run may take.")
        with self._database.write() as session:
            held = select(Image).where(Image.id.in_(missed[_HELD]), _is_held()).order_by(Image.id)
            for image in session.scalars(held.with_for_update()):
                image.requeue()
        self._dispatcher.watch()
        self._dispatcher.dispatch()


def _ids(session: Session, column: object, *conditions: ColumnElement[bool]) -> set[UUID]:
    return set(session.scalars(select(column).where(*conditions).order_by(column).limit(_MOST)))  # type: ignore[call-overload]
