"""What a child of the warm worker does: one flow run after another, in a Python with everything loaded.

It talks JSON lines with the worker over a socket. When that closes, the worker has retired the child, or is dead:
the child ends, and so does the run that nobody supervises any more.
"""

import contextvars
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
from logging import Logger
from queue import SimpleQueue
from typing import Any, cast
from uuid import UUID

import psutil
from prefect.context import SyncClientContext
from prefect.exceptions import Abort, Pause
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.logging import get_logger
from prefect.logging.configuration import setup_logging
from prefect.logging.loggers import flow_run_logger

from deployments.prefect.internals.engine import (
    RunMetrics,
    configure_from_env,
    drive_run_flow_result,
    handle_engine_signals,
    leave_heartbeats_behind,
    load_flow,
    run_flow,
)

log = get_logger("worker.child")

_ORPHAN_SECONDS = 5.0
_RESTING_BYTES = 230_000_000


class Child:
    """The loop of a child process. Flow runs are run by the main thread, which alone gets signals."""

    def __init__(self, connection: socket.socket, preload: list[str]) -> None:
        self._connection = connection
        self._orders: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._flows = {entrypoint: flow for entrypoint in preload if (flow := _preloaded(entrypoint))}
        self._busy = False

    def serve(self) -> None:
        """Run what the worker orders, until it closes the connection."""
        threading.Thread(target=self._listen, name="worker-connection", daemon=True).start()
        with SyncClientContext() as context:
            self._say({"ready": True})
            while (order := self._orders.get()) is not None:
                self._obey(order, context)

    def _listen(self) -> None:
        try:
            with self._connection.makefile() as lines:
                for line in lines:
                    self._orders.put(json.loads(line))
        except OSError:
            pass
        self._orders.put(None)
        if self._busy:
            _end_as_orphan()

    def _obey(self, order: dict[str, Any], context: SyncClientContext) -> None:
        """Run a flow run in the surroundings that the last one found, not in those that it left."""
        self._busy = True
        environment, folder, path = dict(os.environ), os.getcwd(), list(sys.path)
        os.environ.update(order["env"])
        timed_out = contextvars.copy_context().run(self._run, UUID(order["flow_run_id"]), order["entrypoint"], context)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = path
        self._busy = False
        # Threads of a run that timed out may live on in here, so that one is spent.
        spent = timed_out or _is_stuck()
        give_back_memory(_RESTING_BYTES)
        self._say({"done": True, "rss": psutil.Process().memory_info().rss, "spent": spent})

    def _run(self, flow_run_id: UUID, entrypoint: str | None, context: SyncClientContext) -> bool:
        """What `python -m prefect.engine` does, less the start. Returns whether the run timed out.

        An end that should be this process's end too is raised: a termination, or what the engine did not handle.
        """
        configure_from_env()
        timed_out = False
        try:
            with handle_engine_signals(flow_run_id):
                flow_run = context.client.read_flow_run(flow_run_id)
                logger = flow_run_logger(flow_run=flow_run)
                try:
                    flow = self._flows.get(entrypoint or "") or load_flow(flow_run)
                except Exception:
                    logger.error("Unexpected exception encountered when trying to load flow", exc_info=True)
                    raise
                self._say({"hooks": bool(flow.on_cancellation_hooks or flow.on_crashed_hooks)})
                try:
                    with RunMetrics(flow_run, flow):
                        result = run_flow(flow, flow_run=flow_run, error_logger=cast(Logger, logger))
                        drive_run_flow_result(flow, result)
                except TimeoutError:
                    timed_out = True
                    raise
        except SystemExit as end:
            if end.code or not isinstance(end.__context__, Exception | Abort | Pause):
                raise
        return timed_out

    def _say(self, message: dict[str, Any]) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")


def _preloaded(entrypoint: str) -> Flow[..., Any] | None:
    try:
        return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except Exception as error:  # its own runs will say so, each for itself
        log.warning("The flow %s cannot be preloaded: %r", entrypoint, error)
        return None


def _end_as_orphan() -> None:
    """End the run in progress; the engine reports it as crashed, if it can do so soon."""
    log.error("The worker has gone: this flow run ends, since nobody supervises it any more.")
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def give_back_memory(threshold: int) -> None:
    """Give the freed memory of a large picture back to the kernel, where more than `threshold` bytes are held.

    glibc keeps what is freed below the top of its heaps. Other C libraries have no such call, and need none.
    """
    if psutil.Process().memory_info().rss > threshold and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def prepare() -> None:
    """Set up what a process has once for all its flow runs."""
    setup_logging()
    leave_heartbeats_behind()


def load_services() -> None:
    """Open what the flows need, so that no run waits for it."""
    from facet.services import get_services

    services = get_services()
    assert services.detector and services.store and services.claims and services.catalog and services.deliveries


def _is_stuck() -> bool:
    """Whether a picture that took too long is still being decoded."""
    from facet.services import get_services

    return bool(get_services.cache_info().currsize) and get_services().decoder.stuck
