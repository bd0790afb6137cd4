"""Work pools on that Prefect server, and one worker for those tests that share it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.worker.stage import Server, Stage, Worker, deploy_all, wait_for


@pytest.fixture
def stage(server: Server, tmp_path: Path) -> Stage:
    """A work pool of its own, for tests that start their own workers."""
    return Stage(server, tmp_path)


@pytest.fixture(scope="module")
def shared(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = Stage(server, tmp_path_factory.mktemp("shared"))
    deploy_all(stage)
    return stage


@pytest.fixture(scope="module")
def worker(shared: Stage) -> Iterator[Worker]:
    """A warm worker with two slots for the stage that is `shared`."""
    with shared.warm_worker(slots=2, HOOK_NOTE=str(shared.folder / "hook")) as worker:
        wait_for(lambda: len(worker.children()) == 3)
        yield worker
        assert worker.process.poll() is None
        assert "could not" not in worker.output
