"""The kinds of fault. Each is injected when its block begins and healed when it ends."""

import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from sqlalchemy import Connection, create_engine, select, text

from facet.errors import Unavailable
from facet.persistence.models import Image, ImageStatus, Run
from tests.faults.deployment import LEASE_SECONDS, Deployment
from tests.faults.proxy import FaultProxy, Mode, Way

WORKER = "cli.main worker"
CHILD = '"services": true'
PREFECT = "prefect-server"
API = "cli.main api"

_AWAITED_SECONDS = 15

Inject = Callable[[Deployment], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """`seconds` is how long it lasts; `reasons` are the failure codes that are true of an image that meets it."""

    name: str
    inject: Inject
    seconds: float = 8
    reasons: frozenset[str] = frozenset()
    mixes: bool = True
    """Whether others may happen at the same time."""
    stream: float = 0
    """For so long images are sent, where the injection itself takes longer than `seconds`."""


# ---- processes


def killed(part: str, *, only_one: bool = False) -> Inject:
    @contextmanager
    def inject(target: Deployment) -> Iterator[None]:
        found = target.stack.processes(part)
        _send_all(found[:1] if only_one else found, signal.SIGKILL)
        yield

    return inject


@contextmanager
def busy_child_killed(target: Deployment) -> Iterator[None]:
    """Twice, so that an image may die in hand and again when it is tried alone."""
    for _ in range(2):
        if child := _caught_at_work(target):
            _send_all([child], signal.SIGKILL)
        time.sleep(2)
    yield


def ended(part: str) -> Inject:
    """SIGTERM, as a new release ends it."""

    @contextmanager
    def inject(target: Deployment) -> Iterator[None]:
        _send_all(target.stack.processes(part), signal.SIGTERM)
        yield

    return inject


def frozen(part: str) -> Inject:
    @contextmanager
    def inject(target: Deployment) -> Iterator[None]:
        processes = target.stack.processes(part)
        _send_all(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _send_all(processes, signal.SIGCONT)

    return inject


@contextmanager
def busy_child_frozen(target: Deployment) -> Iterator[None]:
    """Its lease passes, its images go to another run, and it wakes as a zombie in the midst of its work."""
    child = _caught_at_work(target)
    try:
        yield
    finally:
        _send_all([child] if child else [], signal.SIGCONT)


@contextmanager
def everything_killed(target: Deployment) -> Iterator[None]:
    """As by a power cut, of which the disks know nothing; the data's servers go on."""
    target.kill()
    try:
        yield
    finally:
        target.start()


def _caught_at_work(target: Deployment) -> psutil.Process | None:
    """A child with unfinished images in its hands, frozen: all are frozen at such a moment, then the others let go."""
    until = time.monotonic() + _AWAITED_SECONDS
    children = target.stack.processes(CHILD)
    while time.monotonic() < until:
        if _processing(target):
            _send_all(children, signal.SIGSTOP)
            busy = _children_of(target, _processing(target))
            caught = next((child for child in children if child.pid in busy), None)
            _send_all([child for child in children if child is not caught], signal.SIGCONT)
            if caught:
                return caught
        time.sleep(0.02)
    return None


def _children_of(target: Deployment, flow_run_ids: list[UUID]) -> set[int]:
    """The processes of these flow runs, as Prefect knows them."""
    wanted = {"id": {"any_": [str(flow_run_id) for flow_run_id in flow_run_ids]}}
    with suppress(httpx.HTTPError):
        return {
            int(run["infrastructure_pid"] or 0) for run in target.stack.prefect("/flow_runs/filter", flow_runs=wanted)
        }
    return set()


def await_work(target: Deployment) -> None:
    """Until images are in a run's hands, so that there is something to break."""
    until = time.monotonic() + _AWAITED_SECONDS
    while time.monotonic() < until and not _processing(target):
        time.sleep(0.02)


def _processing(target: Deployment) -> list[UUID]:
    """The flow runs that have images in their hands."""
    with suppress(Unavailable), target.database.read() as session:
        in_hands = select(Run.flow_run_id).join(Image, Image.run_id == Run.id)
        found = session.scalars(in_hands.where(Image.status == ImageStatus.PROCESSING).distinct())
        return [flow_run_id for flow_run_id in found if flow_run_id]
    return []


def _send_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


# ---- what is reached over the network


def proxied(which: Callable[[Deployment], FaultProxy], mode: Mode) -> Inject:
    def inject(target: Deployment) -> AbstractContextManager[None]:
        return which(target).failing(mode)

    return inject


@contextmanager
def answers_of_the_api_lost(target: Deployment) -> Iterator[None]:
    with ExitStack() as stack:
        for api in target.api:
            stack.enter_context(api.failing(Mode(Way.LOST)))
        yield


def _receiver(target: Deployment) -> FaultProxy:
    return target.receiver


def _s3(target: Deployment) -> FaultProxy:
    assert target.s3
    return target.s3


# ---- data


@contextmanager
def postgresql_crashed(target: Deployment) -> Iterator[None]:
    assert target.postgres
    target.postgres.crash()
    try:
        yield
    finally:
        target.postgres.start()


@contextmanager
def connections_cut(target: Deployment) -> Iterator[None]:
    """Every second: all of the application's, and Prefect's."""
    with _administrator(target) as connection:
        for _ in range(5):
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('facet', 'prefect')")
            )
            time.sleep(1)
    yield


@contextmanager
def postgresql_read_only(target: Deployment) -> Iterator[None]:
    """As after a failover: who connects again finds a server that reads alone, and keeps such connections after it."""
    with _administrator(target) as connection:
        connection.execute(text("ALTER DATABASE facet SET default_transaction_read_only = on"))
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'facet'"))
        try:
            yield
        finally:
            connection.execute(text("ALTER DATABASE facet SET default_transaction_read_only = off"))
            target.database.close()  # the harness' own connections


@contextmanager
def _administrator(target: Deployment) -> Iterator[Connection]:
    """A connection to PostgreSQL itself, beside the application's databases."""
    assert target.postgres
    engine = create_engine(f"{target.postgres.url}/postgres", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def sqlite_locked(target: Deployment) -> Iterator[None]:
    """By a writer that takes longer than any other waits."""
    connection = sqlite3.connect(target.stack.home / "facet.db", isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def disks_full(*names: str) -> Inject:
    @contextmanager
    def inject(target: Deployment) -> Iterator[None]:
        fillers = [target.disks[name] / "filler" for name in names]
        for filler in fillers:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
        try:
            yield
        finally:
            for filler in fillers:
                filler.unlink()

    return inject


@contextmanager
def files_cannot_grow(target: Deployment) -> Iterator[None]:
    """The API and the worker meet their limit of a file's size: a full disk for whoever may mount none."""
    processes = [p for part in (API, WORKER, CHILD) for p in target.stack.processes(part)]
    for process in processes:
        _limit(process, 2_000)
    try:
        yield
    finally:
        for process in [*processes, *target.stack.processes(CHILD)]:  # new children have inherited it
            _limit(process, None)


def _limit(process: psutil.Process, size: int | None) -> None:
    with suppress(ProcessLookupError):
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


@contextmanager
def folder_unreadable(target: Deployment) -> Iterator[None]:
    """As a mount that answers with errors."""
    objects = target.stack.home / "images-away"
    folder: Path = target.stack.home / "objects" / "images"
    folder.mkdir(exist_ok=True)
    try:
        folder.rename(objects)
    except OSError:  # a file system of its own
        objects = folder.with_name("away")
        folder.rename(objects)
    folder.write_bytes(b"")
    try:
        yield
    finally:
        os.unlink(folder)
        objects.rename(folder)


# ---- what people delete in Prefect


def deleted(*paths: str) -> Inject:
    """Deleted in Prefect; then `facet deploy` makes it anew, and nothing is restarted."""

    @contextmanager
    def inject(target: Deployment) -> Iterator[None]:
        for path in paths:
            target.stack.delete_in_prefect(path)
        try:
            yield
        finally:
            target.facet("deploy")

    return inject


@contextmanager
def waiting_runs_stranded(target: Deployment) -> Iterator[None]:
    """The work queue is deleted while flow runs wait in it."""
    target.stack.prefect("/work_pools/faces/queues/interactive", method="PATCH", is_paused=True)
    time.sleep(2)
    with deleted("/work_pools/faces/queues/interactive")(target):
        yield


@contextmanager
def prefects_database_made_anew(target: Deployment) -> Iterator[None]:
    """Of all flow runs, deployments and pools nothing is left; the server starts again, and `facet deploy` is run."""
    target.lose_prefects_database()
    try:
        yield
    finally:
        target.await_prefect()
        target.facet("deploy")


# ---- the lists

_CRASHED, _UNAVAILABLE = frozenset({"crashed"}), frozenset({"unavailable"})
_SLOW = Mode(Way.SLOW, seconds=5)
_COMMON = [
    Fault("child killed", busy_child_killed, 4, _CRASHED),
    Fault("worker killed", killed(WORKER), 4, _CRASHED),
    Fault("worker ended (SIGTERM)", ended(WORKER), 4, _CRASHED),
    Fault("Prefect server killed", killed(PREFECT), 4, _CRASHED),
    Fault("Prefect server frozen", frozen(PREFECT), 10, _CRASHED),
    Fault("API process killed", killed(API, only_one=True), 4),
    Fault("API answers lost", answers_of_the_api_lost, 6),
    Fault("lease passes (child frozen)", busy_child_frozen, 3 * LEASE_SECONDS, _CRASHED),
    Fault("everything killed", everything_killed, 2, _CRASHED, mixes=False),
    Fault("deployment deleted", deleted("/deployments/detect-faces/detect-faces"), 6, mixes=False),
    Fault("flows deleted", deleted("/flows/detect-faces", "/flows/deliver-callbacks"), 6, mixes=False),
    Fault("work queue deleted", waiting_runs_stranded, 6, mixes=False),
    Fault("work pool deleted", deleted("/work_pools/faces"), 32, mixes=False),
    Fault("Prefect's database made anew", prefects_database_made_anew, 2, mixes=False),
    Fault("receiver down", proxied(_receiver, Mode(Way.DOWN))),
    Fault("receiver slow (5 s)", proxied(_receiver, _SLOW), 12),
    Fault("receiver answers 500", proxied(_receiver, Mode(Way.STATUS))),
    Fault("receiver's answers lost", proxied(_receiver, Mode(Way.LOST))),
]
_PRODUCTION = [
    Fault("PostgreSQL stopped", postgresql_crashed, 8, _CRASHED | _UNAVAILABLE),
    Fault("PostgreSQL connections cut", connections_cut, 0, _CRASHED | _UNAVAILABLE),
    Fault("PostgreSQL read-only", postgresql_read_only, 8, _CRASHED | _UNAVAILABLE),
    Fault("object store stopped", proxied(_s3, Mode(Way.DOWN)), 12, _UNAVAILABLE),
    Fault("object store hung", proxied(_s3, Mode(Way.HUNG)), 8, _UNAVAILABLE),
    Fault("object store slow (5 s)", proxied(_s3, _SLOW), 12, _UNAVAILABLE | _CRASHED),
    Fault("object store answers 500", proxied(_s3, Mode(Way.STATUS)), 8, _UNAVAILABLE),
    Fault("object store answers 503", proxied(_s3, Mode(Way.STATUS, status=503)), 8, _UNAVAILABLE),
    Fault("object store's answers lost", proxied(_s3, Mode(Way.LOST)), 6, _UNAVAILABLE),
]
_EMBEDDED = [
    Fault("SQLite locked (35 s)", sqlite_locked, 35, _CRASHED | _UNAVAILABLE),
    Fault("files cannot grow", files_cannot_grow, 8, _CRASHED | _UNAVAILABLE),
    Fault("folder store unreadable", folder_unreadable, 8, _UNAVAILABLE, mixes=False),
]
_DISKS = {
    "objects": Fault("folder store's disk full", disks_full("objects"), 8, _UNAVAILABLE),
    "home": Fault(
        "all of the home's disk full", disks_full("home", "objects"), 8, _CRASHED | _UNAVAILABLE, mixes=False
    ),
}


def kinds_for(target: Deployment) -> list[Fault]:
    """Those that the target's profile, and this machine, can meet."""
    if target.profile == "production":
        return _COMMON + _PRODUCTION
    return _COMMON + _EMBEDDED + [fault for name, fault in _DISKS.items() if name in target.disks]


def mixture(kinds: list[Fault], rng: random.Random, seconds: float) -> Fault:
    """Faults at random: up to two at a time, one after the other for so long."""
    able = [kind for kind in kinds if kind.mixes and kind.seconds < seconds / 2]

    @contextmanager
    def inject(target: Deployment) -> Iterator[None]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            first, second = rng.sample(able, 2)
            with first.inject(target):
                time.sleep(rng.uniform(0, 2))
                with second.inject(target):
                    time.sleep(rng.uniform(1, 5))
            time.sleep(rng.uniform(0, 3))
        yield

    reasons = frozenset[str]().union(*(kind.reasons for kind in able))
    return Fault("at random", inject, 0, reasons, stream=seconds)
