"""Detect again in many stored images."""

import time
from contextlib import suppress
from uuid import UUID

from prefect import flow
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed

from deployments.prefect.flow_runs import get_dispatcher
from facet.errors import Unavailable
from facet.persistence.models import ReprocessingState
from facet.reprocessing.feeder import NotClaimed, Step
from facet.reprocessing.report import as_markdown, read_report
from facet.reprocessing.request import ReprocessingRequest
from facet.services import Services, get_services

_STEP_SECONDS = 1.0
_PATIENCE_SECONDS = 300.0


@flow(name="reprocess", persist_result=False)
def reprocess(request: ReprocessingRequest | None = None, reprocessing_id: UUID | None = None) -> State[None]:
    """Detect again in many stored images: put them in the queue, a bounded number at a time, and report what changed.

    Args:
        request: Which images, and how.
        reprocessing_id: Only to go on with a reprocessing that was asked for before; `request` is then left alone.
    """
    services = get_services()
    context = FlowRunContext.get()
    assert context and context.flow_run
    flow_run_id = context.flow_run.id
    if reprocessing_id is None:
        reprocessing_id = services.reprocessings.create(request or ReprocessingRequest(), flow_run_id).id
    detector = f"{services.detector.name} {services.detector.version}"
    try:
        services.feeder.begin(reprocessing_id, flow_run_id, detector)
        step = _feed(services, reprocessing_id, flow_run_id)
    except NotClaimed as error:
        return Completed(message=f"Nothing to do: {error}")
    how_far = f"{step.taken - step.open} of {step.total} images"
    if step.waits_for:
        return Completed(message=f"It waits for reprocessing {step.waits_for}; a new flow run goes on with it then.")
    if step.state is ReprocessingState.PAUSED:
        return Completed(message=f"Paused after {how_far}; resumed, a new flow run goes on with it.")
    report = read_report(services.database, reprocessing_id)
    create_markdown_artifact(
        as_markdown(report, services.settings),
        key=f"reprocessing-{reprocessing_id}-report",
        description="What became of the images.",
    )
    if step.state is ReprocessingState.CANCELLED:
        return Cancelled(message=f"Cancelled after {how_far}.")
    return Completed(message=f"{how_far}, {report.changed} with another number of faces.")


def _feed(services: Services, reprocessing_id: UUID, flow_run_id: UUID) -> Step:
    """Step until the reprocessing is over or paused, or it is not its turn."""
    log = get_run_logger()
    link = f"{services.settings.base_url}/v1/reprocessings/{reprocessing_id}"
    progress_id = create_progress_artifact(
        0.0, key=f"reprocessing-{reprocessing_id}", description=f"Reprocessing [{reprocessing_id}]({link})"
    )
    told, taken, trouble_since = 0.0, 0, None
    while True:
        _end_if_suspended(flow_run_id)
        try:
            step = services.feeder.step(reprocessing_id, flow_run_id)
            trouble_since = None
        except Unavailable as error:
            trouble_since = trouble_since or time.monotonic()
            if time.monotonic() - trouble_since > _PATIENCE_SECONDS:
                raise
            log.warning("Asked again in %g s: %s", _STEP_SECONDS, error)
            time.sleep(_STEP_SECONDS)
            continue
        if step.taken > taken:
            log.info("%d of %d images taken, %d of them wait or are processed.", step.taken, step.total, step.open)
            taken = step.taken
            with suppress(Unavailable):  # the dispatchers' timers go on
                get_dispatcher(services).dispatch()
        if (percent := round(step.percent, 1)) != told:
            update_progress_artifact(progress_id, percent)  # type: ignore[arg-type]
            told = percent
        if step.waits_for or step.state is not ReprocessingState.ACTIVE:
            return step
        time.sleep(_STEP_SECONDS)


def _end_if_suspended(flow_run_id: UUID) -> None:
    """The UI's Pause suspends a run; Prefect itself would end it at its next task, and here there is none."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    if state and state.is_paused():
        raise Pause("Paused in the Prefect UI.", state=state)
