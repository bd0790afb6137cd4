"""The Prefect server that the tests of a process share, for what is made in it and for what workers do with it."""

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.deployments.worker.stage import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[SyncPrefectClient]:
    """Of a Prefect in which nothing is deployed."""
    url = server.url
    with temporary_settings({PREFECT_API_URL: url}), SyncPrefectClient(api=url) as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)
        for pool in client.read_work_pools():
            client.delete_work_pool(pool.name)
        for automation in client.read_automations():
            client.delete_automation(automation.id)
        for variable in client.read_variables():
            client.delete_variable_by_name(variable.name)
        yield client
