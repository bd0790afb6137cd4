"""One Prefect server for the tests of a process, and one worker for those that share it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments.worker.stage import Server, Stage, Worker, deploy_all, wait_for


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


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
        wait_for(lambda: len(worker.children()) == 4)
        yield worker
