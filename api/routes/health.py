"""Whether the service lives, is ready, and how it fares."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from api import schemas
from api.metrics import queue_metrics
from api.state import AppState
from facet.errors import Unavailable

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> schemas.Part:
    """The process answers."""
    return schemas.Part(status="ok")


@router.get("/readyz", responses={503: {"model": schemas.Readiness}})
def readyz(state: AppState, response: Response) -> schemas.Readiness:
    """Check database, object store and Prefect. Without Prefect submissions are still taken, and wait."""

    def database() -> None:
        with state.services.database.read() as session:
            session.execute(text("SELECT 1"))

    parts = {
        "database": _check(database),
        "object_store": _check(state.services.store.check),
        "prefect": _check(state.flow_runs.check),
    }
    down = {name for name, part in parts.items() if part.status != "ok"}
    if down - {"prefect"}:
        response.status_code = 503
    status = "unavailable" if down - {"prefect"} else "degraded" if down else "ok"
    return schemas.Readiness(status=status, parts=parts)


def _check(check: Callable[[], None]) -> schemas.Part:
    try:
        check()
    except Unavailable as error:
        return schemas.Part(status="unavailable", detail=str(error))
    return schemas.Part(status="ok")


@metrics_router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(state: AppState) -> Response:
    """Prometheus metrics."""
    page = generate_latest() + generate_latest(queue_metrics(state.services.catalog))
    return Response(page, media_type=CONTENT_TYPE_LATEST)
