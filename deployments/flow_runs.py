"""The dispatcher's view of Prefect: create flow runs, ask how they fare, and report dead ones."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, get_current_settings
from prefect.states import Cancelled, Crashed

from deployments.names import DETECT_DEPLOYMENT, REPROCESS_DEPLOYMENT
from facet.dispatch import Created, Dispatcher, Fate, Underway
from facet.errors import Refused, Unavailable
from facet.models import Image, Lane
from facet.services import Services
from facet.settings import Settings

_FATES = {
    StateType.COMPLETED: Fate.COMPLETED,
    StateType.FAILED: Fate.FAILED,
    StateType.CRASHED: Fate.CRASHED,
    StateType.CANCELLED: Fate.CANCELLED,
    StateType.PAUSED: Fate.SUSPENDED,
}

_FOR_EVER = {400, 409, 413, 422}
_UNDERWAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_MOST_TAGGED = 4


class PrefectFlowRuns:
    """Flow runs that the application asks for, through one client that is opened when it is first needed."""

    def __init__(self, pending_seconds: float = 120) -> None:
        self._pending = timedelta(seconds=pending_seconds)
        self._client: SyncPrefectClient | None = None
        self._deployment_id: UUID | None = None
        # Prefect's client waits for seconds and minutes between its retries; the dispatcher's timer is quicker.
        self._impatient = get_current_settings().copy_with_update({PREFECT_CLIENT_MAX_RETRIES: 2})

    def create(self, run_id: UUID, images: Sequence[Image], lane: Lane, queue: Lane) -> Created:
        with self._prefect() as client:
            flow_run = client.create_flow_run_from_deployment(
                self._deployment(client),
                parameters={"image_ids": [str(image.id) for image in images]},
                name=_name([image.request_id for image in images]),
                tags=_tags(images, lane),
                idempotency_key=str(run_id),
                work_queue_name=queue.value,
            )
            return Created(flow_run.id, flow_run.name)

    def create_reprocess(self, reprocessing_id: UUID, key: str) -> UUID:
        with self._prefect() as client:
            flow_run = client.create_flow_run_from_deployment(
                client.read_deployment_by_name(REPROCESS_DEPLOYMENT).id,
                parameters={"reprocessing_id": str(reprocessing_id)},
                name=f"reprocessing {reprocessing_id}",
                tags=[f"reprocessing:{reprocessing_id}"],
                idempotency_key=key,
            )
            return flow_run.id

    def fates(self, flow_run_ids: Sequence[UUID]) -> dict[UUID, Fate]:
        with self._prefect() as client:
            found = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(flow_run_ids))),
                sort=FlowRunSort.ID_DESC,
            )
        before = datetime.now(UTC) - self._pending
        fates = {run.id: _fate(run.state, before) for run in found}
        return {flow_run_id: fates.get(flow_run_id, Fate.ABSENT) for flow_run_id in flow_run_ids}

    def underway(self, seconds: float) -> list[Underway]:
        with self._prefect() as client:
            found = client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[self._deployment(client)])),
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
        with self._prefect() as client:
            try:
                flow_run = client.read_flow_run(flow_run_id)
            except ObjectNotFound:
                return
            if flow_run.state is None or not flow_run.state.is_final():
                end = Cancelled if flow_run.state and flow_run.state.is_cancelling() else Crashed
                client.set_flow_run_state(flow_run_id, end(message=reason), force=True)

    def check(self) -> None:
        with self._prefect() as client:
            client.hello()

    def _deployment(self, client: SyncPrefectClient) -> UUID:
        if self._deployment_id is None:
            self._deployment_id = client.read_deployment_by_name(DETECT_DEPLOYMENT).id
        return self._deployment_id

    @contextmanager
    def _prefect(self) -> Iterator[SyncPrefectClient]:
        try:
            if self._client is None:
                self._client = get_client(sync_client=True, httpx_settings={"timeout": 15.0})
            with SettingsContext(profile=get_settings_context().profile, settings=self._impatient):
                yield self._client
        except ObjectNotFound as error:
            self._deployment_id = None
            raise Unavailable(
                "Prefect does not know the deployments or work queues that it should: run `facet deploy`."
            ) from error
        except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
            if isinstance(error, PrefectHTTPStatusError) and error.response.status_code in _FOR_EVER:
                raise Refused(f"Prefect refuses it with {error.response.status_code}: {_words(error)}") from error
            raise Unavailable(f"Prefect does not answer: {type(error).__name__}.") from error


def _words(error: PrefectHTTPStatusError) -> str:
    """Prefect's own words, on one line and not too many."""
    return " ".join(error.response.text.split())[:300]


def _fate(state: State | None, before: datetime) -> Fate:
    if state is None or state.type is StateType.SCHEDULED:
        return Fate.UNDERWAY
    return _FATES.get(state.type) or (Fate.STALE if state.timestamp < before else Fate.UNDERWAY)


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
