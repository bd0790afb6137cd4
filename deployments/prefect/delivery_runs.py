"""Asks Prefect for a run of `deliver-callbacks` when a delivery is due.

A flow run costs seconds of CPU, so none is made while nothing is due, and none while one is on its way: while no worker
is there, one run waits, and not one a second. The deployment's own schedule makes good what is missed here.
"""

import time

from deployments.prefect.control_runs import ControlRuns
from deployments.prefect.names import DELIVER_DEPLOYMENT
from facet.callbacks.sending import Deliveries

_SAME_SECONDS = 5


class DeliveryRuns:
    """One look is `look`."""

    def __init__(self, deliveries: Deliveries, pending_seconds: float = 120) -> None:
        self._deliveries = deliveries
        self._runs = ControlRuns(pending_seconds)

    def look(self) -> bool:
        """Make a run if a delivery is due and no run is on its way. Returns whether it did. Raises Unavailable."""
        if not self._deliveries.is_due() or self._runs.is_under_way(DELIVER_DEPLOYMENT):
            return False
        # Several API processes that look at the same time make one run.
        self._runs.create(DELIVER_DEPLOYMENT, f"due-{int(time.time() // _SAME_SECONDS)}")
        return True
