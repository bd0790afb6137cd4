"""What Prefect runs a flow run with, in the process that runs it."""

from functools import partial

from prefect import flow_engine
from prefect._internal.control_listener import configure_from_env
from prefect._internal.metrics import RunMetrics
from prefect.engine import _drive_run_flow_result as drive_run_flow_result
from prefect.engine import handle_engine_signals
from prefect.flow_engine import load_flow, run_flow

__all__ = [
    "RunMetrics",
    "configure_from_env",
    "drive_run_flow_result",
    "handle_engine_signals",
    "leave_heartbeats_behind",
    "load_flow",
    "run_flow",
]


def leave_heartbeats_behind() -> None:
    """Let the thread that sends a run's heartbeats end by itself, as Prefect does for asynchronous flows.

    It looks up once a second, and the engine waits for it: half a second of each run's slot.
    """
    flow_engine._send_heartbeats = partial(flow_engine._send_heartbeats, join_on_exit=False)
