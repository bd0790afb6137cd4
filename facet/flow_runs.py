"""The port to Prefect: what the domain asks of flow runs, and what it is told of them.

`deployments.prefect.flow_runs` is the adapter. The domain imports nothing of Prefect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from facet.persistence.models import Image, Lane, RunState


class FlowRunStatus(StrEnum):
    """What Prefect knows of a flow run: still to end, or how it ended.

    `stale`: a worker took it so long ago that it should hold its images by now. `stranded`: it waits where no worker
    will ever take it, for its work queue is gone. `absent`: it was deleted, or all that Prefect knew.
    """

    UNDERWAY = "underway"
    STALE = "stale"
    STRANDED = "stranded"
    COMPLETED = "completed"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    SUSPENDED = "suspended"
    ABSENT = "absent"


NEVER_BEGUN = {
    FlowRunStatus.STALE: "The run was handed to a worker that has never begun it.",
    FlowRunStatus.STRANDED: "The run's work queue is gone, so no worker would ever take it.",
}
"""Statuses of flow runs that Prefect takes to be still to come, and what it is told of them."""
BLAMELESS = (FlowRunStatus.SUSPENDED, FlowRunStatus.ABSENT)
"""Statuses that people gave the flow run: its images had no part in it."""


def is_over(status: FlowRunStatus, state: RunState) -> bool:
    """Whether a run in flight is at its end; a lease tells of one that has begun, whatever it looks like in Prefect."""
    return status is not FlowRunStatus.UNDERWAY and not (status in NEVER_BEGUN and state is RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class Created:
    """A flow run that exists in Prefect."""

    flow_run_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Underway:
    """A flow run that Prefect takes to be started (Running), or about to be (Pending)."""

    flow_run_id: UUID
    started: bool


class FlowRuns(Protocol):
    """Prefect, as far as the dispatcher needs it.

    Every method raises Unavailable when it does not answer, or refuses what is asked: that is never an image's fault.
    """

    def create(self, run_id: UUID, images: Sequence[Image], lane: Lane, queue: Lane) -> Created:
        """Create the flow run of a batch in this work queue; the same `run_id` always gives the same flow run."""
        ...

    def statuses(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, FlowRunStatus]: ...

    def underway(self, seconds: float) -> list[Underway]:
        """The flow runs that have been Pending, Running or Cancelling for longer than this; some of them if many."""
        ...

    def crash(self, flow_run_id: UUID, reason: str) -> None:
        """Tell Prefect that a flow run it believes to be alive is dead; one that has ended is left alone.

        One that was being cancelled is cancelled with that.
        """
        ...

    def check(self) -> None: ...
