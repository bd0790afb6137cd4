"""Whether Prefect is asked for a run; what it answers is tested with a real one in tests/flows."""

import pytest

from deployments.delivery_runs import DeliveryRuns
from facet.claims import Claims
from facet.database import Database
from facet.errors import Unavailable
from tests.support.deliveries import make_due, new_deliveries, owe


def test_prefect_is_asked_only_when_a_callback_is_due(database: Database, claims: Claims) -> None:
    """There is no Prefect here, so asking it raises."""
    runs = DeliveryRuns(new_deliveries(database))
    delivery_id = owe(database, claims, "http://127.0.0.1:1/")
    assert runs.look() is False
    make_due(database, delivery_id)
    with pytest.raises(Unavailable, match="Prefect does not answer"):
        runs.look()
