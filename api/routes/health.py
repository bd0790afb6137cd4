"""Whether the service lives, is ready, and how it fares."""

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api import schemas
from api.metrics import shared_metrics
from api.state import AppState

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> schemas.Part:
    """The process answers."""
    return schemas.Part(status="ok")


@router.get("/readyz", responses={503: {"model": schemas.Readiness}})
async def readyz(state: AppState, response: Response) -> schemas.Readiness:
    """Check database, object store and Prefect. Without Prefect submissions are still taken, and wait."""
    readiness = await asyncio.shield(asyncio.wrap_future(state.readiness.look()))
    if readiness.status == "unavailable":
        response.status_code = 503
    return readiness


@metrics_router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(state: AppState) -> Response:
    """Prometheus metrics."""
    page = generate_latest() + generate_latest(shared_metrics(state.services))
    return Response(page, media_type=CONTENT_TYPE_LATEST)
