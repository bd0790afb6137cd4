"""Deliveries whose receivers have not taken the callback at once: try those that are due again."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from facet.services import get_services

_SECONDS = 120.0


@flow(name="deliver-callbacks", persist_result=False)
def deliver_callbacks() -> State[None]:
    """Try every delivery that is due; a receiver's failure is recorded and scheduled, and fails no run."""
    outcomes = get_services().deliveries.deliver_due(_SECONDS)
    if not outcomes:
        return Completed(message="Nothing was due.")
    taken = sum(outcome.error is None for outcome in outcomes)
    given_up = sum(outcome.given_up for outcome in outcomes)
    waiting = len(outcomes) - taken - given_up
    message = f"{taken} taken, {waiting} to be tried again, {given_up} given up"
    get_run_logger().info(message)
    return Completed(message=message)
