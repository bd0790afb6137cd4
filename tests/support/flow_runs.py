"""Prefect for tests of what uses it: a record of calls. The real one is in tests/flows."""

from collections.abc import Sequence
from datetime import timedelta
from threading import Lock
from uuid import UUID, uuid4

from sqlalchemy import select

from facet.errors import Unavailable
from facet.flow_runs import Created, FlowRunStatus, Underway
from facet.persistence.database import Database
from facet.persistence.models import Image, Lane, Run
from facet.work.claims import Claims


class RecordedFlowRuns:
    """Prefect's part of the bargain: one flow run an idempotency key, and a status for each."""

    def __init__(self) -> None:
        self.down = False
        self.created: dict[UUID, Created] = {}
        self.images: dict[UUID, list[UUID]] = {}
        self.queues: dict[UUID, Lane] = {}
        self.run_status: dict[UUID, FlowRunStatus] = {}
        self.crashed: list[UUID] = []
        self.stuck: list[Underway] = []
        self._lock = Lock()

    def create(self, run_id: UUID, images: Sequence[Image], lane: Lane, queue: Lane) -> Created:
        self.check()
        with self._lock:
            self.queues.setdefault(run_id, queue)
            self.images.setdefault(run_id, [image.id for image in images])
            return self.created.setdefault(run_id, Created(uuid4(), "run"))

    def statuses(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, FlowRunStatus]:
        self.check()
        return {i: self.run_status.get(i, FlowRunStatus.UNDERWAY) for i in flow_run_ids}

    def underway(self, seconds: float) -> list[Underway]:
        self.check()
        return self.stuck

    def crash(self, flow_run_id: UUID, reason: str) -> None:
        self.crashed.append(flow_run_id)
        self.run_status[flow_run_id] = FlowRunStatus.CRASHED
        self.stuck = [stuck for stuck in self.stuck if stuck.flow_run_id != flow_run_id]

    def check(self) -> None:
        if self.down:
            raise Unavailable("Prefect is down.")


def age_runs(database: Database, seconds: int = 60) -> None:
    """Let the grace in which a flow run is created pass."""
    with database.write() as session:
        for run in session.scalars(select(Run)):
            run.created_at -= timedelta(seconds=seconds)


def start(claims: Claims, prefect: RecordedFlowRuns, run_id: UUID) -> None:
    created = prefect.created[run_id]
    claims.open(prefect.images[run_id], run_id=run_id, flow_run_id=created.flow_run_id, flow_run_name=created.name)
