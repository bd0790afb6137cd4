"""What becomes of flow runs in a warm worker."""

import pytest

from tests.deployments.warm_worker import sample_flows as flows
from tests.deployments.warm_worker.stage import Stage, Worker

pytestmark = pytest.mark.xdist_group("warm_runs")


def test_runs_share_a_child_and_leave_nothing_behind(shared: Stage, worker: Worker) -> None:
    first = shared.where()
    assert int(first[0]) in worker.children()
    shared.complete(flows.litter)
    shared.complete(flows.litter)
    for _ in range(3):
        pid, folder, variable, _ = shared.where()
        assert int(pid) in worker.children()
        assert (folder, variable) == (str(shared.folder), "")
