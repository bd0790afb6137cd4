"""Where flow runs wait for a worker: a deployment's runs wait in its work queue, and without one for ever.

A work queue that is deleted leaves its deployments and their waiting runs without any; a work pool takes its queues
with it. What is made anew under the same name gets none of them back: `facet deploy` places the deployments again.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from deployments.prefect.names import DEPLOYMENTS
from facet.errors import Unavailable

_PAGE = 200


def place(client: SyncPrefectClient, *names: str) -> DeploymentResponse:
    """The first of these deployments. Raises Unavailable, unless each is there and has a work queue."""
    found = find_deployments(client, names)
    if missing := [name for name in names if name not in found]:
        raise Unavailable(f"Prefect does not know the deployment {', '.join(missing)}: run `facet deploy`.")
    if homeless := [name for name in names if found[name].work_queue_id is None]:
        raise Unavailable(f"In Prefect the deployment {', '.join(homeless)} has no work queue: run `facet deploy`.")
    return found[names[0]]


def find_deployments(client: SyncPrefectClient, names: Sequence[str]) -> dict[str, DeploymentResponse]:
    """Those of these deployments (`flow/deployment`) that Prefect knows."""
    flows, deployments = zip(*(name.split("/") for name in names), strict=True)
    found = client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=list(deployments))),
    )
    # Facet's deployments have their flows' names, and Prefect tells of a deployment's flow by its id alone.
    return {f"{deployment.name}/{deployment.name}": deployment for deployment in found}


def remove_stranded(client: SyncPrefectClient) -> None:
    """Delete Facet's flow runs that wait in no work queue and have never begun.

    No worker would ever take them. What they were to do is done by others: images and callbacks wait in the
    application's database, and schedules make new runs.
    """
    for run in list(_waiting(client)):
        if run.work_queue_id is None and not run.run_count:
            with suppress(ObjectNotFound):  # it is gone already
                client.delete_flow_run(run.id)


def _waiting(client: SyncPrefectClient) -> Iterator[FlowRun]:
    flows = FlowFilter(name=FlowFilterName(any_=[name.partition("/")[0] for name in DEPLOYMENTS]))
    scheduled = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    offset = 0
    while page := client.read_flow_runs(
        flow_filter=flows,
        flow_run_filter=FlowRunFilter(state=scheduled),
        sort=FlowRunSort.ID_DESC,
        limit=_PAGE,
        offset=offset,
    ):
        yield from page
        offset += len(page)
