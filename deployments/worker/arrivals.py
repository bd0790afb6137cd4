"""Flow runs that arrive in a work pool, as Prefect's events tell of them."""

import asyncio
from collections.abc import Callable
from uuid import UUID

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.logging import get_logger

log = get_logger("warm_worker.arrivals")

_AGAIN_SECONDS = 5.0


async def tell_of_arrivals(work_pool_id: UUID, tell: Callable[[], None]) -> None:
    """Call `tell` for each flow run that is scheduled in the work pool, for ever.

    It saves the wait for the next poll, and no more: while the server does not answer, polling finds all runs.
    """
    scheduled = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.Scheduled"]),
        any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{work_pool_id}"]),
    )
    while True:
        try:
            async with get_events_subscriber(filter=scheduled) as events:
                async for _ in events:
                    tell()
        except Exception as error:
            log.debug("Prefect's events cannot be heard: %r", error)
        await asyncio.sleep(_AGAIN_SECONDS)
