"""`/v1/reprocessings`: detect again in many stored images, and see how far that is."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api import schemas
from api.access import admins_only
from api.problems import Problem, responses
from api.state import AppState, State
from deployments.prefect.flow_runs import ui_url
from facet.persistence.models import Reprocessing, ReprocessingState
from facet.reprocessing.reprocessings import ReprocessingOver
from facet.reprocessing.request import ReprocessingRequest

router = APIRouter(
    prefix="/v1/reprocessings",
    tags=["reprocessings"],
    dependencies=[admins_only],
)


@router.post("", status_code=202, responses=responses(422, 503))
def ask_for_reprocessing(state: AppState, response: Response, request: ReprocessingRequest) -> schemas.Reprocessing:
    """Ask for it. They are worked on one after the other, at a lower priority than submissions.

    Images keep their former result until the new one is complete, and for good where there is none.
    """
    row = state.services.reprocessings.create(request)
    response.headers["Location"] = _url(state, row)
    response.headers["Retry-After"] = "5"
    return _view(state, row)


@router.get("", responses=responses(422, 503))
def list_reprocessings(
    state: AppState,
    reprocessing_state: Annotated[ReprocessingState | None, Query(alias="state")] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> schemas.ReprocessingPage:
    """The reprocessings, newest first."""
    page = state.services.reprocessings.page(state=reprocessing_state, cursor=cursor, limit=limit)
    return schemas.ReprocessingPage(
        reprocessings=[_view(state, row) for row in page.reprocessings], next_cursor=page.next_cursor
    )


@router.get("/{reprocessing_id}", responses=responses(404, 422, 503))
def get_reprocessing(state: AppState, reprocessing_id: UUID) -> schemas.Reprocessing:
    """How far it is."""
    return _view(state, _known(state.services.reprocessings.find(reprocessing_id), reprocessing_id))


@router.post("/{reprocessing_id}/pause", responses=responses(404, 409, 422, 503))
def pause_reprocessing(state: AppState, reprocessing_id: UUID) -> schemas.Reprocessing:
    """Take no more images; the few that are taken are still processed."""
    return _change(state, state.services.reprocessings.pause, reprocessing_id)


@router.post("/{reprocessing_id}/resume", responses=responses(404, 409, 422, 503))
def resume_reprocessing(state: AppState, reprocessing_id: UUID) -> schemas.Reprocessing:
    """Go on where it was."""
    return _change(state, state.services.reprocessings.resume, reprocessing_id)


@router.post("/{reprocessing_id}/cancel", responses=responses(404, 409, 422, 503))
def cancel_reprocessing(state: AppState, reprocessing_id: UUID) -> schemas.Reprocessing:
    """End it for good. New results stay; images that still wait keep the result that they have."""
    return _change(state, state.services.reprocessings.cancel, reprocessing_id)


def _change(state: State, change: Callable[[UUID], Reprocessing | None], reprocessing_id: UUID) -> schemas.Reprocessing:
    try:
        return _view(state, _known(change(reprocessing_id), reprocessing_id))
    except ReprocessingOver as over:
        raise Problem(409, "over", f"{over} Ask for a new one.") from None


def _known(row: Reprocessing | None, reprocessing_id: UUID) -> Reprocessing:
    if row is None:
        raise Problem(404, "unknown-reprocessing", f"There is no reprocessing {reprocessing_id}. Check the id.")
    return row


def _url(state: State, row: Reprocessing) -> str:
    return f"{state.services.settings.base_url}/v1/reprocessings/{row.id}"


def _view(state: State, row: Reprocessing) -> schemas.Reprocessing:
    progress = state.services.reprocessings.progress(row)
    return schemas.Reprocessing(
        id=row.id,
        state=row.state,
        request=ReprocessingRequest.model_validate(row.request),
        detector=row.detector,
        total=row.total,
        taken=row.taken,
        open=progress.open,
        completed=progress.completed,
        failed=progress.failed,
        cancelled=progress.cancelled,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        flow_run=schemas.FlowRun(id=row.flow_run_id, name=None, url=ui_url(row.flow_run_id, state.services.settings))
        if row.flow_run_id
        else None,
        links=schemas.ReprocessingLinks(self=_url(state, row)),
    )
