"""Tell the senders."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from facet.errors import Unavailable
from facet.services import Services
from tasks.each_image import is_transient

_DELAYS = [0.5, 2.0]


class CallbackFailed(Unavailable):
    """A receiver did not take its callback."""


@task(
    name="callback",
    task_run_name="callback",
    cache_policy=NO_CACHE,
    retries=len(_DELAYS),
    retry_delay_seconds=_DELAYS,
    retry_condition_fn=is_transient,
)
def callback(image_ids: list[UUID], services: Services) -> int:
    """Send every callback that the images' senders are owed; two quick retries for a receiver that fails.

    Returns how many were taken.
    """
    last = task_run.run_count > len(_DELAYS)
    taken, trouble = 0, []
    for delivery_id in services.deliveries.owed(image_ids):
        if error := services.deliveries.attempt(delivery_id, last=last):
            get_run_logger().warning("Delivery %s: %s", delivery_id, error)
            trouble.append(error)
        else:
            taken += 1
    if trouble:
        raise CallbackFailed(f"{len(trouble)} callback(s) not taken. {trouble[0]}")
    return taken
