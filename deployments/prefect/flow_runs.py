"""The dispatcher's view of Prefect: create flow runs, ask how they fare, and report dead ones."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from deployments.prefect.calls import PrefectCalls, refuses_content
from deployments.prefect.control_runs import end
from deployments.prefect.names import DEPLOYMENTS, DETECT_DEPLOYMENT, REPROCESS_DEPLOYMENT
from deployments.prefect.placement import find_deployments, place
from facet.flow_runs import Created, FlowRunStatus, Underway
from facet.persistence.models import Image, Lane
from facet.services import Services
from facet.settings import Settings
from facet.work.dispatcher import Dispatcher

log = logging.getLogger(f"facet.{__name__}")

_STATUSES = {
    StateType.COMPLETED: FlowRunStatus.COMPLETED,
    StateType.FAILED: FlowRunStatus.FAILED,
    StateType.CRASHED: FlowRunStatus.CRASHED,
    StateType.CANCELLED: FlowRunStatus.CANCELLED,
    StateType.PAUSED: FlowRunStatus.SUSPENDED,
}
_NOT_CANCELLED = "no longer exists"
"""A worker cancels a run of which the deployment was deleted, with these words; nobody has asked for that."""

_UNDERWAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_MOST_TAGGED = 4
_PAGE = 200  # more flow runs Prefect tells of in no answer


class PrefectFlowRuns:
    """Flow runs that the application asks for."""

    def __init__(self, pending_seconds: float = 120) -> None:
        self._pending = timedelta(seconds=pending_seconds)
        self._calls = PrefectCalls()
        self._deployment_id: UUID | None = None

    def create(self, run_id: UUID, images: Sequence[Image], lane: Lane, queue: Lane) -> Created:
        with self._calls.client() as client:
            try:
                flow_run = self._create(client, run_id, images, lane, queue)
            except (ObjectNotFound, PrefectHTTPStatusError):
                self._deployment_id = None  # it may have been made anew
                raise
            return Created(flow_run.id, flow_run.name)

    def _create(
        self, client: SyncPrefectClient, run_id: UUID, images: Sequence[Image], lane: Lane, queue: Lane
    ) -> FlowRun:
        if self._deployment_id is None:
            self._deployment_id = place(client, DETECT_DEPLOYMENT).id

        def create(deployment_id: UUID, name: str, tags: Sequence[str]) -> FlowRun:
            return client.create_flow_run_from_deployment(
                deployment_id,
                parameters={"image_ids": [str(image.id) for image in images]},
                name=name,
                tags=tags,
                idempotency_key=str(run_id),
                work_queue_name=queue.value,
            )

        try:
            return create(self._deployment_id, _name([image.request_id for image in images]), _tags(images, lane))
        except PrefectHTTPStatusError as error:
            if not refuses_content(error):
                raise
            # Its name and tags are all that senders have a say in. If it is refused even so, no image is to blame.
            flow_run = create(self._deployment_id, f"{len(images)} image(s)", [lane.value])
            log.warning("Flow run %s has no request's name or tags: Prefect refused them.", flow_run.id)
            return flow_run

    def create_reprocess(self, reprocessing_id: UUID, key: str) -> UUID:
        with self._calls.client() as client:
            flow_run = client.create_flow_run_from_deployment(
                place(client, REPROCESS_DEPLOYMENT).id,
                parameters={"reprocessing_id": str(reprocessing_id)},
                name=f"reprocessing {reprocessing_id}",
                tags=[f"reprocessing:{reprocessing_id}"],
                idempotency_key=key,
            )
            return flow_run.id

    def statuses(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, FlowRunStatus]:
        found: list[FlowRun] = []
        with self._calls.client() as client:
            for start in range(0, len(flow_run_ids), _PAGE):
                page = FlowRunFilterId(any_=list(flow_run_ids[start : start + _PAGE]))
                found += client.read_flow_runs(flow_run_filter=FlowRunFilter(id=page), sort=FlowRunSort.ID_DESC)
            waits = any(run.state is None or run.state.type is StateType.SCHEDULED for run in found)
            deployment = find_deployments(client, [DETECT_DEPLOYMENT]).get(DETECT_DEPLOYMENT) if waits else None
        before = datetime.now(UTC) - self._pending
        pool = deployment.work_pool_name if deployment else None
        statuses = {run.id: _run_status(run, before, pool) for run in found}
        return {flow_run_id: statuses.get(flow_run_id, FlowRunStatus.ABSENT) for flow_run_id in flow_run_ids}

    def underway(self, seconds: float) -> list[Underway]:
        with self._calls.client() as client:
            found = client.read_flow_runs(  # of the flow, and so of deployments that were deleted too
                flow_filter=FlowFilter(name=FlowFilterName(any_=[DETECT_DEPLOYMENT.partition("/")[0]])),
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDERWAY))),
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            )
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        return [
            Underway(run.id, started=run.state.type is not StateType.PENDING)
            for run in found
            if run.state and run.state.timestamp < before
        ]

    def crash(self, flow_run_id: UUID, reason: str) -> None:
        with self._calls.client() as client:
            try:
                flow_run = client.read_flow_run(flow_run_id)
            except ObjectNotFound:
                return
            if flow_run.state is None or not flow_run.state.is_final():
                end(client, flow_run, reason)

    def check(self) -> None:
        """Whether Prefect answers, and has all that Facet's flow runs need. Raises Unavailable."""
        with self._calls.client() as client:
            place(client, *DEPLOYMENTS)


def _run_status(run: FlowRun, before: datetime, pool: str | None = None) -> FlowRunStatus:
    """`pool` is the work pool in which the deployment is now, if it is in one."""
    state = run.state
    if state is None or state.type is StateType.SCHEDULED:
        moved = pool and run.work_pool_name and run.work_pool_name != pool
        return FlowRunStatus.STRANDED if run.work_queue_id is None or moved else FlowRunStatus.UNDERWAY
    if state.type is StateType.CANCELLED and _NOT_CANCELLED in (state.message or ""):
        return FlowRunStatus.ABSENT
    return _STATUSES.get(state.type) or (FlowRunStatus.STALE if state.timestamp < before else FlowRunStatus.UNDERWAY)


def _tags(images: Sequence[Image], lane: Lane) -> list[str]:
    """Tags by which people find the run; a large batch's images lead to it by the API and its table alone.

    Prefect stores each tag of a run again with every event of the run and of its tasks, and takes a hundred at most.
    """
    tags = [lane.value, *sorted({f"reprocessing:{image.reprocessing_id}" for image in images if image.reprocessing_id})]
    if len(images) > _MOST_TAGGED:
        return tags
    return [
        *tags,
        *(f"image:{image.id}" for image in images),
        *sorted({f"request:{image.request_id}" for image in images}),
    ]


def _name(request_ids: Sequence[str]) -> str:
    first = request_ids[0][:60]
    return first if len(request_ids) == 1 else f"{first} and {len(request_ids) - 1} more"


def ui_url(flow_run_id: UUID, settings: Settings) -> str:
    """Where people see the flow run in the Prefect UI."""
    base = settings.prefect_ui_url or (PREFECT_API_URL.value() or "").removesuffix("/api")
    return f"{base.rstrip('/')}/runs/flow-run/{flow_run_id}"


@cache
def get_dispatcher(services: Services) -> Dispatcher:
    """The dispatcher of this process, on Prefect."""
    return Dispatcher(
        services.database, services.claims, PrefectFlowRuns(services.settings.pending_seconds), services.settings
    )
