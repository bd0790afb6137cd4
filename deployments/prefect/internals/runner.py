"""What Prefect starts, watches, cancels and reports the processes of flow runs with."""

from prefect._internal.observers import FlowRunCancellingObserver
from prefect.runner._cancellation_manager import CancellationManager
from prefect.runner._control_channel import ControlChannel, ControlSignalStatus
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._hook_runner import HookRunner
from prefect.runner._process_manager import ProcessHandle, ProcessManager
from prefect.runner._state_proposer import StateProposer

__all__ = [
    "CancellationManager",
    "ControlChannel",
    "ControlSignalStatus",
    "FlowRunCancellingObserver",
    "FlowRunExecutionResult",
    "FlowRunExecutor",
    "FlowRunExecutorContext",
    "HookRunner",
    "ProcessHandle",
    "ProcessManager",
    "StateProposer",
]
