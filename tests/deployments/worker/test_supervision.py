"""That cancellations go on being heard."""

import asyncio

from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.worker.supervision import Supervision
from tests.deployments.worker.stage import Server


def test_an_observer_that_has_given_up_is_replaced(server: Server) -> None:
    async def give_up_and_heal() -> None:
        async with Supervision() as supervision:
            first = supervision._observer
            await supervision.listen_again()
            assert supervision._observer is first
            first._handle_unavailable(RuntimeError("The server did not answer three times running."))
            await supervision.listen_again()
            second = supervision._observer
            assert second is not first
            await supervision.listen_again()
            assert supervision._observer is second
            second._handle_unavailable(RuntimeError("Again."))
            await supervision.listen_again()
            assert supervision._observer is not second

    with temporary_settings({PREFECT_API_URL: server.url}):
        asyncio.run(give_up_and_heal())
