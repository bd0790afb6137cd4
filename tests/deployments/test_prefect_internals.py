"""What Facet uses of Prefect that is not public. When one of these fails, Prefect was changed: read it anew."""

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from functools import partial
from typing import Any
from uuid import uuid4

import prefect
import pytest
from prefect import flow, flow_engine
from prefect.exceptions import Abort, Pause, TerminationSignal
from prefect.runner._process_manager import ProcessTerminationScope
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from deployments.prefect.internals import engine, runner, server


def test_prefect_is_the_version_that_was_read() -> None:
    assert prefect.__version__ == "3.9.1"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (engine.drive_run_flow_result, "flow run_result"),
        (engine.handle_engine_signals, "flow_run_id"),
        (flow_engine._send_heartbeats, "engine join_on_exit"),
        (engine.load_flow, "flow_run"),
        (engine.run_flow, "flow flow_run parameters wait_for return_type error_logger context"),
        (engine.configure_from_env, ""),
        (engine.RunMetrics, "flow_run flow"),
        (runner.FlowRunCancellingObserver, "on_cancelling polling_interval event_filter on_failure"),
        (
            runner.CancellationManager,
            "process_manager hook_runner state_proposer event_emitter client control_channel",
        ),
        (runner.CancellationManager.cancel_by_id, "self flow_run_id"),
        (runner.ControlChannel.register, "self flow_run_id"),
        (runner.ControlChannel.signal, "self flow_run_id intent"),
        (runner.ControlChannel.get_conclusion, "self flow_run_id"),
        (
            runner.FlowRunExecutor,
            "flow_run starter process_manager state_proposer hook_runner get_attempt_conclusion propose_submitting",
        ),
        (runner.FlowRunExecutor.submit, "self task_status"),
        (runner.FlowRunExecutorContext._handle_cancellation_observer_failure, "self flow_run_ids"),
        (runner.HookRunner, "resolve_flow"),
        (runner.HookRunner.run_cancellation_hooks, "self flow_run state"),
        (runner.HookRunner.run_crashed_hooks, "self flow_run state"),
        (runner.ProcessHandle, "_process termination_scope"),
        (runner.ProcessManager.get, "self flow_run_id"),
        (runner.ProcessManager.kill, "self flow_run_id grace_seconds force"),
        (runner.StateProposer.propose_crashed, "self flow_run message"),
        (server.create_app, "settings ephemeral webserver_only final ignore_cache"),
        (server.provide_database_interface, ""),
        (server.set_database_config, "database_config"),
        (server.AioSqliteConfiguration.begin_transaction, "self session with_for_update"),
        (server.AioSqliteConfiguration.setup_sqlite, "self conn record"),
        (ProcessWorker.run, "self flow_run configuration task_status"),
        (BaseWorker.kill_infrastructure, "self infrastructure_pid configuration grace_seconds"),
        (BaseWorker.get_and_submit_flow_runs, "self"),
        (BaseWorker._get_scheduled_flow_runs, "self"),
        (BaseWorker._submit_scheduled_flow_runs, "self flow_run_response"),
        (BaseWorker._submit_run, "self flow_run"),
        (BaseWorker._release_limit_slot, "self flow_run_id"),
        (BaseWorker._setup_cancellation_observer, "self"),
        (BaseWorker._sync_and_initialize, "self"),
        (BaseWorker._worker_metadata, "self"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_functions_take_what_they_are_given(function: Callable[..., Any], parameters: str) -> None:
    assert list(inspect.signature(function).parameters) == parameters.split()


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (runner.FlowRunExecutorContext.__aenter__, "client control_channel process_manager"),
        (runner.FlowRunExecutorContext.__aenter__, "_observer _state_proposer _event_emitter"),
        (runner.FlowRunExecutorContext.__aenter__, "_cancellation_manager _cancellation_task_group"),
        (runner.FlowRunExecutor.submit, "_get_attempt_conclusion returncode propose_crashed run_crashed_hooks"),
        (runner.FlowRunCancellingObserver.__aenter__, "_handle_unavailable"),
        (runner.FlowRunCancellingObserver._handle_unavailable, "on_failure"),
        (runner.FlowRunCancellingObserver.__init__, "on_cancelling on_failure"),
        (BaseWorker.__init__, "_submitting_flow_run_ids _last_polled_time _work_queues"),
        (BaseWorker.start, "get_and_submit_flow_runs _sync_and_initialize"),
        (BaseWorker._submit_scheduled_flow_runs, "_submit_run"),
        (ProcessJobConfiguration.prepare_for_flow_run, "_command_configured"),
        (flow_engine.FlowRunEngine.run_context, "_send_heartbeats"),
        (engine.configure_from_env, "environ"),
        (server.AioSqliteConfiguration.begin_transaction, "SQLITE_BEGIN_MODE begin"),
        (server.AioSqliteConfiguration.begin_sqlite_stmt, "SQLITE_BEGIN_MODE"),
    ],
)
def test_functions_still_use_what_is_replaced_or_read(function: Callable[..., Any], names: str) -> None:
    code = inspect.unwrap(function).__code__
    used = {*code.co_names, *code.co_freevars, *code.co_cellvars}
    assert set(names.split()) <= used


def test_heartbeats_are_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_engine, "_send_heartbeats", flow_engine._send_heartbeats)  # so that it is put back
    engine.leave_heartbeats_behind()
    assert isinstance(flow_engine._send_heartbeats, partial)
    assert flow_engine._send_heartbeats.keywords == {"join_on_exit": False}


def test_what_a_flow_leaves_to_be_done_is_done() -> None:
    done = []

    async def run() -> None:
        done.append("coroutine")

    def generate() -> Generator[None]:
        yield
        done.append("generator")

    async def generate_async() -> AsyncGenerator[None]:
        yield
        done.append("async generator")

    for function in (run, generate, generate_async):
        engine.drive_run_flow_result(flow(function), function())
    engine.drive_run_flow_result(flow(lambda: None), None)
    assert done == ["coroutine", "generator", "async generator"]


@pytest.mark.parametrize(
    ("raised", "code"), [(Abort(), 0), (Pause(), 0), (ValueError(), 1)], ids=lambda value: type(value).__name__
)
def test_the_engines_signals_end_with_a_status_that_tells_who_ended(raised: BaseException, code: int) -> None:
    with pytest.raises(SystemExit) as end, engine.handle_engine_signals(uuid4()):
        raise raised
    assert end.value.code == code
    assert end.value.__context__ is raised


def test_a_termination_that_nobody_asked_for_goes_on() -> None:
    with pytest.raises(TerminationSignal), engine.handle_engine_signals(uuid4()):
        raise TerminationSignal(signal=15)


def test_conclusions_and_kills_are_what_they_were() -> None:
    assert {"is_alive", "graceful_kill", "hard_kill", "close"} <= set(vars(ProcessTerminationScope))
    assert "wait_after_graceful_kill" in ProcessTerminationScope.__annotations__
    assert set(runner.ControlSignalStatus.__members__) == {"ACKNOWLEDGED", "ALREADY_CONCLUDED", "NOT_ACKNOWLEDGED"}
    assert {"handle", "status_code"} <= set(runner.FlowRunExecutionResult.__dataclass_fields__)
    assert "reschedule" in flow_engine._SUPERVISOR_OWNED_INTENTS


def test_the_servers_sqlite_begins_as_the_context_says() -> None:
    assert isinstance(server.SQLITE_BEGIN_MODE, ContextVar)
    assert server.SQLITE_BEGIN_MODE.get() is None
