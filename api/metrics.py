"""Prometheus metrics: of this process's requests, and of what all processes share."""

import time

from prometheus_client import CollectorRegistry, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facet.services import Services

_REQUESTS = Histogram(
    "facet_http_request_duration_seconds",
    "Requests by route, method and status.",
    ["method", "route", "status"],
)


class RequestMetrics:
    """ASGI middleware that times each request under its route's pattern, never under its path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            _REQUESTS.labels(scope["method"], route, status).observe(time.perf_counter() - begun)


def shared_metrics(services: Services) -> CollectorRegistry:
    """What the database has now: the queue, and when maintenance last completed."""
    registry, catalog = CollectorRegistry(), services.catalog
    counts = catalog.counts()
    for name, label, help_text in (
        ("images", "status", "Images by status; the queue's depth is that of status queued."),
        ("runs", "state", "Flow runs in flight by state."),
        ("deliveries", "state", "Deliveries by state."),
    ):
        gauge = Gauge(f"facet_{name}", help_text, [label], registry=registry)
        for value, count in counts[name].items():
            gauge.labels(value).set(count)
    oldest = Gauge("facet_queue_oldest_seconds", "Age of the oldest image that waits.", registry=registry)
    oldest.set(catalog.oldest_waiting_seconds())
    age = services.completion.age()
    since = Gauge(
        "facet_maintenance_age_seconds",
        "Since maintenance last completed, or was expected.",
        registry=registry,
    )
    since.set(age.seconds)
    overdue = Gauge(
        "facet_maintenance_overdue", "1 where that is longer than FACET_MAINTENANCE_OVERDUE_HOURS.", registry=registry
    )
    overdue.set(age.is_overdue)
    return registry
