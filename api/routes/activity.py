"""`/v1/activity`: how much work there is, and how fast it is done."""

from fastapi import APIRouter

from api import schemas
from api.access import Reader
from api.problems import responses
from api.state import AppState
from facet.intake.activity import STEP_SECONDS, activity

router = APIRouter(prefix="/v1/activity", tags=["activity"])


@router.get("", responses=responses(503))
def get_activity(state: AppState, who: Reader) -> schemas.Activity:
    """How many of your images wait and are in work, and how many finished lately."""
    seen = activity(state.services.database, who)
    return schemas.Activity(
        queued=seen.queued,
        processing=seen.processing,
        step_seconds=STEP_SECONDS,
        finished=list(seen.finished),
        unfinished=list(seen.unfinished),
    )
