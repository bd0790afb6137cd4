"""Call the senders back."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from facet.callbacks.sending import Deliveries
from facet.errors import Unavailable
from tasks.each_image import is_transient

_DELAYS = [0.5, 2.0]


class CallbackFailed(Exception):
    """A receiver did not take its callback; the delivery is on the schedule of `deliver-callbacks`, or given up."""


class CallbackFailing(Unavailable):
    """A receiver did not take its callback; the delivery is tried again in a moment."""


@task(
    name="callback",
    task_run_name="callback",
    cache_policy=NO_CACHE,
    retries=len(_DELAYS),
    retry_delay_seconds=_DELAYS,
    retry_condition_fn=is_transient,
)
def callback(image_ids: list[UUID], deliveries: Deliveries) -> int:
    """Try every delivery that is due to the images' senders; two quick retries for a receiver that fails quickly.

    Returns how many were taken by this try.
    """
    last = task_run.run_count > len(_DELAYS)
    outcomes = deliveries.attempt_all(
        deliveries.undelivered(image_ids, retry_soon=task_run.run_count > 1),
        quick=not last,
    )
    for delivery_id, outcome in outcomes.items():
        if outcome.error:
            get_run_logger().warning("Delivery %s: %s", delivery_id, outcome.error)
    if failing := [outcome.error for outcome in outcomes.values() if outcome.retry_soon]:
        raise CallbackFailing(f"{len(failing)} callback(s) not taken. {failing[0]}")
    if untaken := deliveries.undelivered(image_ids):
        raise CallbackFailed(f"{len(untaken)} callback(s) not taken yet; deliver-callbacks goes on with them.")
    return len(outcomes)
