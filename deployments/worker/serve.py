"""The worker's process: it runs until a signal asks for its end."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

from prefect.logging.configuration import setup_logging

from deployments.containers.health import WORKER_FILE
from deployments.worker.worker import WarmWorker
from facet.settings import Settings

_BEAT_SECONDS = 5


def serve(work_pool: str, slots: int, settings: Settings, *, services: bool = True) -> None:
    """Serve the work pool until SIGTERM or SIGINT; a second one ends the grace of the runs in progress."""
    setup_logging()
    asyncio.run(_serve(work_pool, slots, settings, services))


async def _serve(work_pool: str, slots: int, settings: Settings, services: bool) -> None:
    ending, stop_now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (stop_now if ending.is_set() else ending).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    worker = WarmWorker(work_pool, slots, settings, services=services)
    work = asyncio.create_task(worker.start())
    asked = asyncio.create_task(ending.wait())
    beat = asyncio.create_task(_beat(worker, settings.home))
    await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        print(f"Worker {worker.name!r} takes no more flow runs, and ends.", flush=True)
        await worker.drain(settings.worker_grace_seconds, stop_now)
        work.cancel()
    beat.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def _beat(worker: WarmWorker, home: Path) -> None:
    """Leave a sign of life for health checks while the loop turns; an outage of Prefect is none of its own ills."""
    home.mkdir(parents=True, exist_ok=True)
    while True:
        if worker.is_setup:
            (home / WORKER_FILE).touch()
        await asyncio.sleep(_BEAT_SECONDS)
