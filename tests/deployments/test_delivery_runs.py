"""Whether Prefect is asked for a run; what a real one answers is in test_control_runs.py and tests/flows."""

import pytest

from deployments.prefect.delivery_runs import DeliveryRuns
from facet.errors import Unavailable
from facet.persistence.database import Database
from facet.work.claims import Claims
from tests.support.deliveries import make_due, new_deliveries, owe


def test_prefect_is_asked_only_when_a_delivery_is_due(database: Database, claims: Claims) -> None:
    """There is no Prefect here, so asking it raises."""
    runs = DeliveryRuns(new_deliveries(database))
    delivery_id = owe(database, claims, "http://127.0.0.1:1/")
    assert runs.look() is False
    make_due(database, delivery_id)
    with pytest.raises(Unavailable, match="Prefect does not answer"):
        runs.look()
