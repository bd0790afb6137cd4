"""The application."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api import console, problems
from api.access import ASSETS, Access, admins_only
from api.body_limits import BodyLimits
from api.canonical import Canonical
from api.early_answers import EarlyAnswers
from api.metrics import RequestMetrics
from api.readiness import Readiness, checks
from api.routes import activity, deliveries, docs, health, images, legacy, pictures, reprocessings, submissions
from api.security_headers import SecurityHeaders
from api.state import State
from deployments.prefect.control_runs import LOOK_SECONDS, ControlRuns
from deployments.prefect.delivery_runs import DeliveryRuns
from deployments.prefect.flow_runs import PrefectFlowRuns
from deployments.prefect.watch import watch
from facet.reprocessing.supervision import ReprocessSupervision
from facet.services import Services, get_services
from facet.work.dispatcher import Dispatcher

_DESCRIPTION = """Submit photos, get faces. `POST /v1/images` stores a photo and answers at once; a Prefect flow run
finds the faces, and the result is POSTed to your `callback_url`, or read from `GET /v1/images/{id}`."""


class Application(FastAPI):
    """With what stands before all of it, the answers to unexpected errors too."""

    def build_middleware_stack(self) -> ASGIApp:
        settings = self.state.facet.services.settings
        stack = Canonical(super().build_middleware_stack(), prefix=settings.prefix)
        return EarlyAnswers(stack, max_bytes=settings.max_request_bytes)


def create_app(services: Services | None = None) -> FastAPI:
    """The API on the given services, or on those of the process's settings."""
    services = services or get_services()
    flow_runs = PrefectFlowRuns(services.settings.pending_seconds)
    dispatcher = Dispatcher(services.database, services.claims, flow_runs, services.settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        settings, seconds = services.settings, services.settings.dispatch_seconds
        reprocessings = ReprocessSupervision(services.database, PrefectFlowRuns(settings.pending_seconds))
        watching = asyncio.gather(
            watch("Callbacks", DeliveryRuns(services.deliveries, settings.pending_seconds).look, seconds),
            watch("Reprocessings", reprocessings.look, seconds),
            watch("Control runs", ControlRuns(settings.pending_seconds).look, LOOK_SECONDS),
        )
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        dispatcher.stop()

    app = Application(
        title="Facet",
        version="1",
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.facet = State(services, flow_runs, dispatcher, Readiness(checks(services, flow_runs)))
    settings = services.settings
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Access, keys=services.keys, settings=settings)  # the last added is the first to see a request
    if settings.cors_origin_list:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origin_list,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Location", "Retry-After", "Idempotency-Replayed"],
        )
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestMetrics)
    problems.install(app)
    for routes in (submissions, images, pictures, deliveries, activity, reprocessings, legacy, health, docs, console):
        app.include_router(routes.router)
    app.mount(ASSETS, console.Assets(), name="assets")
    admin_only = [admins_only] if settings.metrics == "admin" else []
    app.include_router(health.metrics_router, dependencies=admin_only)
    logging.getLogger("facet").setLevel(services.settings.log_level)
    return app
