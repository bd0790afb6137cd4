"""The application."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from api import problems
from api.body_limits import BodyLimits
from api.metrics import RequestMetrics
from api.routes import deliveries, health, images, legacy, submissions
from api.state import State
from deployments.delivery_runs import DeliveryRuns
from deployments.flow_runs import PrefectFlowRuns
from facet.dispatch import Dispatcher
from facet.services import Services, get_services

_DESCRIPTION = """Submit photos, get faces. `POST /v1/images` stores a photo and answers at once; a Prefect flow run
finds the faces, and the result is POSTed to your `callback_url`, or read from `GET /v1/images/{id}`."""


def create_app(services: Services | None = None) -> FastAPI:
    """The API on the given services, or on those of the process's settings."""
    services = services or get_services()
    flow_runs = PrefectFlowRuns(services.settings.pending_seconds)
    dispatcher = Dispatcher(services.database, services.claims, flow_runs, services.settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        watching = asyncio.create_task(
            DeliveryRuns(services.deliveries, services.settings.pending_seconds).watch(
                services.settings.dispatch_seconds
            )
        )
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        dispatcher.stop()

    app = FastAPI(title="Facet", version="1", description=_DESCRIPTION, lifespan=lifespan, redirect_slashes=True)
    app.state.facet = State(services, flow_runs, dispatcher)
    app.add_middleware(BodyLimits, settings=services.settings)
    app.add_middleware(RequestMetrics)
    problems.install(app)
    for routes in (submissions, images, deliveries, legacy, health):
        app.include_router(routes.router)
    logging.getLogger("facet").setLevel(services.settings.log_level)
    return app
