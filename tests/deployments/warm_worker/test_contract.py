"""What the warm worker uses of Prefect that is not public. When one of these fails, Prefect was changed: read anew."""

import inspect
from collections.abc import Callable
from typing import Any

import prefect
import pytest
from prefect import engine, flow_engine
from prefect._internal import control_listener, metrics, observers
from prefect.runner import (
    _cancellation_manager,
    _control_channel,
    _flow_run_executor,
    _hook_runner,
    _process_manager,
    _state_proposer,
)
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

Executor = _flow_run_executor.FlowRunExecutor
Context = _flow_run_executor.FlowRunExecutorContext


def test_prefect_is_the_version_that_was_read() -> None:
    assert prefect.__version__ == "3.8.8"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (engine._drive_run_flow_result, "flow run_result"),
        (engine.handle_engine_signals, "flow_run_id"),
        (flow_engine._send_heartbeats, "engine join_on_exit"),
        (flow_engine.load_flow, "flow_run"),
        (flow_engine.run_flow, "flow flow_run parameters wait_for return_type error_logger context"),
        (control_listener.configure_from_env, ""),
        (metrics.RunMetrics, "flow_run flow"),
        (observers.FlowRunCancellingObserver, "on_cancelling polling_interval event_filter on_failure"),
        (
            _cancellation_manager.CancellationManager,
            "process_manager hook_runner state_proposer event_emitter client control_channel",
        ),
        (_cancellation_manager.CancellationManager.cancel_by_id, "self flow_run_id"),
        (_control_channel.ControlChannel.register, "self flow_run_id"),
        (_control_channel.ControlChannel.signal, "self flow_run_id intent"),
        (_control_channel.ControlChannel.get_conclusion, "self flow_run_id"),
        (
            Executor,
            "flow_run starter process_manager state_proposer hook_runner get_attempt_conclusion propose_submitting",
        ),
        (Executor.submit, "self task_status"),
        (_hook_runner.HookRunner, "resolve_flow"),
        (_hook_runner.HookRunner.run_cancellation_hooks, "self flow_run state"),
        (_hook_runner.HookRunner.run_crashed_hooks, "self flow_run state"),
        (_process_manager.ProcessHandle, "_process termination_scope"),
        (_process_manager.ProcessManager.get, "self flow_run_id"),
        (_process_manager.ProcessManager.kill, "self flow_run_id grace_seconds force"),
        (_state_proposer.StateProposer.propose_crashed, "self flow_run message"),
        (ProcessWorker.run, "self flow_run configuration task_status"),
        (BaseWorker.kill_infrastructure, "self infrastructure_pid configuration grace_seconds"),
        (BaseWorker.get_and_submit_flow_runs, "self"),
        (BaseWorker._get_scheduled_flow_runs, "self"),
        (BaseWorker._submit_scheduled_flow_runs, "self flow_run_response"),
        (BaseWorker._submit_run, "self flow_run"),
        (BaseWorker._release_limit_slot, "self flow_run_id"),
        (BaseWorker._sync_and_initialize, "self"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_functions_take_what_they_are_given(function: Callable[..., Any], parameters: str) -> None:
    assert list(inspect.signature(function).parameters) == parameters.split()


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (Context.__aenter__, "client control_channel process_manager _observer _state_proposer _event_emitter"),
        (Context.__aenter__, "_cancellation_manager _cancellation_task_group"),
        (Executor.submit, "_get_attempt_conclusion returncode propose_crashed run_crashed_hooks"),
        (observers.FlowRunCancellingObserver.__init__, "_consumer_task on_cancelling on_failure"),
        (BaseWorker.__init__, "_submitting_flow_run_ids _last_polled_time _cancelling_observer _work_queues"),
        (BaseWorker.start, "get_and_submit_flow_runs _sync_and_initialize"),
        (BaseWorker._submit_scheduled_flow_runs, "_submit_run"),
        (ProcessJobConfiguration.prepare_for_flow_run, "_command_configured"),
        (flow_engine.FlowRunEngine.run_context, "_send_heartbeats"),
        (control_listener.configure_from_env, "environ"),
    ],
)
def test_functions_still_use_what_is_replaced_or_read(function: Callable[..., Any], names: str) -> None:
    code = inspect.unwrap(function).__code__
    used = {*code.co_names, *code.co_freevars, *code.co_cellvars}
    assert set(names.split()) <= used


def test_a_conclusion_counts_as_success_and_a_kill_waits() -> None:
    scope = _process_manager.ProcessTerminationScope
    assert {"is_alive", "graceful_kill", "hard_kill", "close"} <= set(vars(scope))
    assert "wait_after_graceful_kill" in scope.__annotations__
    assert set(_control_channel.ControlSignalStatus.__members__) == {
        "ACKNOWLEDGED",
        "ALREADY_CONCLUDED",
        "NOT_ACKNOWLEDGED",
    }
    assert "reschedule" in flow_engine._SUPERVISOR_OWNED_INTENTS
