"""`facet up`: the embedded stack — Prefect server, API and worker — under supervisord, in the foreground."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import psutil
import typer
from sqlalchemy import update

from cli.output import fail
from cli.processes import EMBEDDED_HEARTBEAT, TIME_FORMAT
from cli.readiness import PARTS, PREFECT, StackFailed, await_parts, prefect_login, prefect_url
from cli.safety import NotSafe, check_access
from facet.local import is_loopback
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Run, RunState
from facet.settings import OUTBOUND_ALLOW_FORMERLY, Settings, get_settings

_MARK = "FACET_STACK"

_GROUPS = """
[group:server]
programs=prefect
priority=1

[group:clients]
programs=api,worker
priority=2
"""
"""What needs Prefect's server ends before it, and together."""

_PROGRAM = """
[program:{name}]
command={command}
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
redirect_stderr=true
autorestart=true
startsecs=3
startretries=5
stopwaitsecs=20
killasgroup=true
"""


def up(
    exit_with_parent: Annotated[
        bool, typer.Option(help="Stop when the process that started this one has ended, however it ended.")
    ] = False,
) -> None:
    """Run the embedded stack in the foreground; one Ctrl-C ends all of it."""
    settings = get_settings()
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell starts its background jobs deaf to SIGINT
        signal.signal(number, _interrupt)
    try:
        with _stack(settings) as supervisor:
            typer.echo(
                f"\n  Console     {settings.base_url}/\n  API docs    {settings.base_url}/docs\n"
                f"  Prefect UI  {prefect_url(settings)}\n  Logs        {settings.home.absolute() / 'logs'}\n\n"
                "Ctrl-C ends it; what was submitted is kept."
            )
            while supervisor.poll() is None:
                if exit_with_parent and os.getppid() != parent:
                    break
                time.sleep(0.5)
            else:
                raise StackFailed(f"The supervisor has ended; see {settings.home.absolute() / 'logs'}.")
    except KeyboardInterrupt:
        typer.echo("Stopped.")
    except (StackFailed, NotSafe) as error:
        raise typer.Exit(fail(str(error))) from error


@contextmanager
def _stack(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    home = settings.home.absolute()
    (home / "logs").mkdir(parents=True, exist_ok=True)
    with (home / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackFailed(
                f"A stack is already running in {home}: its API is at {settings.local_url}. "
                "Stop it first, or set FACET_HOME, FACET_PORT and FACET_PREFECT_PORT for a second one."
            ) from error
        end_leftovers(home)
        if settings.port == settings.prefect_port:
            raise StackFailed(
                f"FACET_PORT and FACET_PREFECT_PORT are both {settings.port}: set another for one of them."
            )
        _check_port("FACET_PORT", settings.host, settings.port)
        _check_port("FACET_PREFECT_PORT", "127.0.0.1", settings.prefect_port)
        ended = _prepare_database(settings)
        environment = _environment(settings, home, keys=check_access(settings))
        supervisor = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "supervisor.supervisord",
                "-n",
                "-s",
                "-c",
                str(_configure(settings, home)),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C comes to this process alone, which then ends the others
        )
        try:
            _await_stack(settings, supervisor, environment, runs_ended_before=ended)
            yield supervisor
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            supervisor.terminate()
            try:
                supervisor.wait(timeout=45)
            except subprocess.TimeoutExpired:
                supervisor.kill()
            end_leftovers(home)


def end_leftovers(home: Path) -> None:
    """End what a stack of this home that was killed has left running; the stack's mark is in their environment."""
    leftovers = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(_MARK) == str(home):
                leftovers.append(process)
        except psutil.Error:
            continue
    for process in leftovers:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(leftovers, timeout=10)


def _check_port(setting: str, host: str, port: int) -> None:
    """Raises StackFailed unless a server can listen there, on each address that the host has."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        fix = setting if error.errno in (errno.EADDRINUSE, errno.EACCES) else "FACET_HOST"
        raise StackFailed(f"Port {port} of {host} cannot be used ({error.strerror}): set {fix}.") from error


def _prepare_database(settings: Settings) -> datetime | None:
    """Returns the time before which all runs have ended, if they all were this stack's."""
    database = Database(settings.sqlalchemy_url)
    database.upgrade()
    if settings.database_url is None:  # this stack's own: no run can be alive before it starts
        with database.write() as session:
            session.execute(update(Run).where(Run.state == RunState.RUNNING).values(lease_until=utcnow()))
    database.close()
    return datetime.now(UTC) if settings.database_url is None else None


def _environment(settings: Settings, home: Path, *, keys: bool = False) -> dict[str, str]:
    # Whoever can reach an API on loopback can reach loopback without it, and receives callbacks there. With keys
    # there are others, perhaps behind a proxy.
    own = "127.0.0.0/8,::1" if is_loopback(settings.host) and not keys else None
    allow = os.environ.get(OUTBOUND_ALLOW_FORMERLY, own)
    login = prefect_login()
    return {
        **({} if allow is None else {"FACET_OUTBOUND_ALLOW": allow}),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": EMBEDDED_HEARTBEAT,
        **prefect_retention(settings.retention_days),
        **({"PREFECT_API_AUTH_STRING": ":".join(login)} if login else {}),
        **os.environ,
        _MARK: str(home),
        "FACET_HOME": str(home),
        "FACET_WORK_POOL": settings.work_pool,
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{prefect_url(settings)}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def prefect_retention(days: int | None) -> dict[str, str]:
    """The settings with which a Prefect server removes its own flow runs, logs, artifacts and events."""
    if days is None:
        return {}
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(days * 86_400),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{min(days, 7)}D",  # 7 days is Prefect's own default
    }


def _configure(settings: Settings, home: Path) -> Path:
    facet = f"{sys.executable} -m cli.main"
    programs = {"prefect": f"{facet} prefect-server", "api": f"{facet} api", "worker": f"{facet} worker"}
    config = (
        f"[supervisord]\nlogfile={home}/logs/supervisor.log\npidfile={home}/supervisor.pid\n"
        f"childlogdir={home}/logs\nuser={psutil.Process().username()}\n"
    )
    for name, command in programs.items():
        config += _PROGRAM.format(name=name, command=command, logs=home / "logs")
    config += _GROUPS
    path = home / "supervisor.conf"
    path.write_text(config.replace("%", "%%"))
    return path


def _await_stack(
    settings: Settings,
    supervisor: subprocess.Popen[bytes],
    environment: dict[str, str],
    *,
    runs_ended_before: datetime | None,
) -> None:
    """Wait for Prefect's server, make the deployments there, and wait for all the rest. Raises StackFailed."""
    say, seconds = partial(typer.echo, err=True), settings.start_seconds
    with _deploying(environment, seconds, runs_ended_before) as deploying:
        await_parts(settings, supervisor, [PREFECT], seconds=seconds, say=say)
        say("Making the work pool and the deployments.")
        try:
            said, failure = deploying.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise StackFailed(f"`facet deploy` has not ended after {seconds:g} s.") from error
    if deploying.returncode:
        raise StackFailed(f"{said}{failure}")
    (settings.home / "logs" / "deploy.log").write_text(said)
    await_parts(settings, supervisor, PARTS, seconds=seconds, say=say)


@contextmanager
def _deploying(
    environment: dict[str, str], seconds: float, runs_ended_before: datetime | None
) -> Iterator[subprocess.Popen[str]]:
    """`facet deploy`, which starts while Prefect's server does, and is ended with the block."""
    ended = ["--runs-ended-before", runs_ended_before.strftime(TIME_FORMAT)] if runs_ended_before else []
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "deploy", "--wait", f"{seconds:g}", *ended],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
