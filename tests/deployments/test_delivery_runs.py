"""Whether Prefect is asked for a run; what it answers is tested with a real one in tests/flows."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from deployments.prefect.delivery_runs import DeliveryRuns
from facet.errors import Unavailable
from facet.persistence.database import Database
from facet.work.claims import Claims
from tests.support.deliveries import make_due, new_deliveries, owe


def test_prefect_is_asked_only_when_a_callback_is_due(database: Database, claims: Claims) -> None:
    """There is no Prefect here, so asking it raises."""
    runs = DeliveryRuns(new_deliveries(database))
    delivery_id = owe(database, claims, "http://127.0.0.1:1/")
    assert runs.look() is False
    make_due(database, delivery_id)
    with pytest.raises(Unavailable, match="Prefect does not answer"):
        runs.look()


@pytest.mark.parametrize(("queue", "is_alive"), [(uuid4(), True), (None, False)])
def test_a_run_that_waits_in_no_work_queue_keeps_no_callback_waiting(
    database: Database, queue: UUID | None, is_alive: bool
) -> None:
    """Its queue was deleted, and no worker will ever take it."""
    run = FlowRun(flow_id=uuid4(), state=Scheduled(), work_queue_id=queue)
    assert DeliveryRuns(new_deliveries(database))._is_alive(run, datetime.now(UTC)) is is_alive
