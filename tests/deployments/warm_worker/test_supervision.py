"""That cancellations go on being heard."""

import asyncio

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.warm_worker.supervision import Supervision, is_deaf
from tests.deployments.warm_worker.stage import Server

pytestmark = pytest.mark.xdist_group("warm_children")


def test_an_observer_that_has_gone_deaf_is_replaced(server: Server) -> None:
    async def deafen_and_heal() -> None:
        async with Supervision() as supervision:
            first = supervision._observer
            assert not is_deaf(first)
            await supervision.listen_again()
            assert supervision._observer is first
            assert first._consumer_task
            first._consumer_task.cancel()
            await asyncio.wait({first._consumer_task})
            assert is_deaf(first)
            await supervision.listen_again()
            assert supervision._observer is not first
            assert not is_deaf(supervision._observer)

    with temporary_settings({PREFECT_API_URL: server.url}):
        asyncio.run(deafen_and_heal())
