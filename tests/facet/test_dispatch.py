"""The dispatcher on real databases; Prefect is a record of calls here, and real in tests/flows."""

import json
import sqlite3
from threading import Lock, Thread
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from facet.errors import Unavailable
from facet.flow_runs import FlowRunStatus
from facet.persistence.database import Database
from facet.persistence.models import Delivery, Image, ImageStatus, Lane, Run, RunState
from facet.settings import Settings
from facet.work.claims import Claims
from facet.work.dispatcher import Dispatcher
from tests.support.flow_runs import RecordedFlowRuns, age_runs, start
from tests.support.images import add_images, reload


@pytest.fixture
def prefect() -> RecordedFlowRuns:
    return RecordedFlowRuns()


@pytest.fixture
def dispatcher(database: Database, claims: Claims, prefect: RecordedFlowRuns, settings: Settings) -> Dispatcher:
    return Dispatcher(database, claims, prefect, settings)


def in_flight(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Run).where(Run.state != RunState.OVER)) or 0


def test_one_image_is_taken_at_once_and_many_in_bounded_batches(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    [first] = add_images(database, 1)
    assert dispatcher.dispatch() == 1
    rest = add_images(database, 9)
    assert dispatcher.dispatch() == 1  # two in flight, not three
    assert dispatcher.dispatch() == 0
    assert list(prefect.images.values()) == [[first.id], [image.id for image in rest[:4]]]


def test_a_bulk_run_takes_twice_as_many(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    add_images(database, 10, lane=Lane.BULK)
    dispatcher.dispatch()
    assert [len(images) for images in prefect.images.values()] == [2 * settings.max_batch, 2]


def test_a_run_of_huge_pictures_is_no_longer_than_others(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    images = add_images(database, 4)
    with database.write() as session:
        for image in images:
            session.get_one(Image, image.id).width = 1_500_000  # of 48 rows: 72 million pixels
    dispatcher.dispatch()
    assert list(prefect.images.values()) == [[image.id for image in part] for part in (images[:2], images[2:])]


def test_eight_dispatchers_take_each_image_once_and_keep_the_bound(
    database: Database, claims: Claims, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    images = add_images(database, 160)
    most = 0
    lock = Lock()

    def work() -> None:
        nonlocal most
        dispatcher = Dispatcher(database, claims, prefect, settings)
        while True:
            if (run_id := dispatcher.reserve()) is None:
                with database.read() as session:
                    if not session.scalar(select(func.count()).select_from(Image).where(Image.run_id.is_(None))):
                        return
                continue
            with lock:
                most = max(most, in_flight(database))
            dispatcher._create(run_id)
            claims.close(run_id)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [image_id for batch in prefect.images.values() for image_id in batch]
    assert sorted(taken) == sorted(image.id for image in images)
    assert 0 < most <= settings.max_runs


def test_while_prefect_is_down_images_wait_and_go_out_when_it_is_back(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    images = add_images(database, 2)
    prefect.down = True
    with pytest.raises(Unavailable):
        dispatcher.dispatch()
    prefect.down = False
    age_runs(database)
    dispatcher.dispatch()
    assert list(prefect.images.values()) == [[image.id for image in images]]
    assert reload(database, images[0]).attempts == 0


def test_a_dispatcher_killed_before_its_call_to_prefect_loses_nothing(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    [image] = add_images(database, 1)
    run_id = dispatcher.reserve()  # and then it dies
    age_runs(database)
    Dispatcher(database, claims, prefect, settings).dispatch()
    assert prefect.images == {run_id: [image.id]}


def test_an_expired_lease_charges_only_what_was_in_progress_which_is_then_isolated(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    images = add_images(database, 3)
    dispatcher.dispatch()
    [run_id] = prefect.created
    jobs = claims.open(
        [i.id for i in images], run_id=run_id, flow_run_id=prefect.created[run_id].flow_run_id, flow_run_name="run"
    )
    claims.mark_in_progress(run_id, jobs[1:2])
    with database.write() as session:
        session.execute(update(Run).values(lease_until=Run.created_at))
    dispatcher.dispatch()
    assert prefect.crashed == [prefect.created[run_id].flow_run_id]
    assert [reload(database, i).attempts for i in images] == [0, 1, 0]
    with database.write() as session:
        session.execute(update(Image).values(available_at=Image.created_at))
    dispatcher.dispatch()
    batches = list(prefect.images.values())[1:]
    assert sorted(batches, key=len) == [[images[1].id], [images[0].id, images[2].id]]


def test_a_poison_image_is_failed_after_its_attempts_with_its_reason(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    [image] = add_images(database, 1, callback_url="http://127.0.0.1/x")
    for _ in range(settings.max_attempts):
        dispatcher.dispatch()
        run_id = list(prefect.created)[-1]
        start(claims, prefect, run_id)
        with database.write() as session:
            session.execute(update(Run).values(lease_until=Run.created_at))
            session.execute(update(Image).values(available_at=Image.created_at))
        dispatcher.expire_leases()
        with database.write() as session:
            session.execute(update(Image).values(available_at=Image.created_at))
    failed = reload(database, image)
    assert (failed.status, failed.failure_code) == (ImageStatus.FAILED, "crashed")
    assert failed.failure_reason and "3 attempts" in failed.failure_reason
    with database.read() as session:
        assert json.loads(session.scalars(select(Delivery)).one().body)["status"] == "failed"


@pytest.mark.parametrize(
    ("run_status", "status", "attempts"),
    [
        (FlowRunStatus.CANCELLED, ImageStatus.CANCELLED, 0),
        (FlowRunStatus.CRASHED, ImageStatus.QUEUED, 1),
        (FlowRunStatus.FAILED, ImageStatus.QUEUED, 1),
        (FlowRunStatus.SUSPENDED, ImageStatus.QUEUED, 0),
        (FlowRunStatus.ABSENT, ImageStatus.QUEUED, 0),
    ],
)
def test_what_a_run_leaves_goes_the_way_of_its_status(
    database: Database,
    claims: Claims,
    dispatcher: Dispatcher,
    prefect: RecordedFlowRuns,
    run_status: FlowRunStatus,
    status: ImageStatus,
    attempts: int,
) -> None:
    [image] = add_images(database, 1)
    dispatcher.dispatch()
    [run_id] = prefect.created
    start(claims, prefect, run_id)
    prefect.run_status[prefect.created[run_id].flow_run_id] = run_status
    age_runs(database)
    dispatcher.watch()
    after = reload(database, image)
    assert (after.status, after.attempts, in_flight(database)) == (status, attempts, 0)


def test_a_run_that_never_started_costs_no_attempt(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    [image] = add_images(database, 1)
    dispatcher.dispatch()
    [created] = prefect.created.values()
    prefect.run_status[created.flow_run_id] = FlowRunStatus.CRASHED
    age_runs(database)
    dispatcher.watch()
    after = reload(database, image)
    assert (after.status, after.run_id, after.attempts) == (ImageStatus.QUEUED, None, 0)


@pytest.mark.parametrize("run_status", [FlowRunStatus.STALE, FlowRunStatus.STRANDED])
@pytest.mark.parametrize(("started", "in_flight_after"), [(False, 0), (True, 1)])
def test_a_run_that_will_never_begin_is_given_up(
    database: Database,
    claims: Claims,
    dispatcher: Dispatcher,
    prefect: RecordedFlowRuns,
    run_status: FlowRunStatus,
    started: bool,
    in_flight_after: int,
) -> None:
    """Its worker died as it took it, and left it Pending for ever; or it waits in a work queue that was deleted."""
    [image] = add_images(database, 1)
    dispatcher.dispatch()
    [(run_id, created)] = prefect.created.items()
    if started:
        start(claims, prefect, run_id)
    prefect.run_status[created.flow_run_id] = run_status
    age_runs(database)
    dispatcher._watch_due = 0
    dispatcher.watch()
    assert in_flight(database) == in_flight_after
    assert prefect.crashed == ([] if started else [created.flow_run_id])
    after = reload(database, image)
    assert (after.run_id, after.attempts) == (run_id if started else None, 0)


def test_interactive_work_goes_first_and_bulk_work_never_starves(
    database: Database, claims: Claims, dispatcher: Dispatcher, settings: Settings
) -> None:
    add_images(database, 60, lane=Lane.BULK)
    add_images(database, 60)
    lanes = []
    for _ in range(12):
        run_id = dispatcher.reserve()
        assert run_id
        claims.close(run_id)
        with database.read() as session:
            lanes.append(session.get_one(Run, run_id).lane)
    assert lanes[0] is Lane.INTERACTIVE
    for start_ in range(len(lanes) - settings.bulk_every + 1):
        assert lanes[start_ : start_ + settings.bulk_every].count(Lane.BULK) == 1


def test_bulk_work_takes_all_slots_when_it_is_alone(database: Database, dispatcher: Dispatcher) -> None:
    add_images(database, 9, lane=Lane.BULK)
    assert dispatcher.reserve() and dispatcher.reserve()
    assert dispatcher.reserve() is None


def test_a_bulk_run_yields_when_interactive_work_waits(
    database: Database, claims: Claims, dispatcher: Dispatcher
) -> None:
    [bulk] = add_images(database, 1, lane=Lane.BULK)
    run_id = dispatcher.reserve()
    assert run_id
    [job] = claims.open([bulk.id], run_id=run_id, flow_run_id=run_id, flow_run_name="bulk")
    assert not claims.must_yield(run_id)
    add_images(database, 1)
    assert claims.must_yield(run_id)
    claims.release(job)
    released = reload(database, bulk)
    assert (released.status, released.run_id, released.attempts) == (ImageStatus.QUEUED, None, 0)


def test_what_prefect_refuses_is_an_outage_and_charged_to_no_image(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    images = add_images(database, 3)
    prefect.down = True
    for _ in range(settings.max_attempts + 1):
        age_runs(database)
        with pytest.raises(Unavailable):
            dispatcher.dispatch()
    prefect.down = False
    dispatcher.dispatch()
    assert list(prefect.images.values()) == [[image.id for image in images]]
    assert [reload(database, image).attempts for image in images] == [0, 0, 0]


def test_a_run_that_is_handed_back_waits_uncharged_to_be_taken_up_again(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    images = add_images(database, 2)
    dispatcher.dispatch()
    [run_id] = prefect.created
    start(claims, prefect, run_id)
    with database.write() as session:
        session.execute(update(Run).values(in_progress=[str(images[0].id)], lease_until=Run.created_at))
    claims.hand_back(run_id)
    dispatcher.dispatch()
    assert in_flight(database) == 1, "no worker has taken it up yet, and none is too late"
    start(claims, prefect, run_id)
    claims.hand_back(run_id)
    age_runs(database)
    prefect.run_status[prefect.created[run_id].flow_run_id] = FlowRunStatus.CRASHED
    dispatcher.watch()
    assert [reload(database, image).attempts for image in images] == [0, 0]
    assert [reload(database, image).status for image in images] == [ImageStatus.QUEUED] * 2


def test_a_submission_finds_a_free_place_though_bulk_runs_have_all(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    add_images(database, 16, lane=Lane.BULK)
    assert dispatcher.dispatch() == 2
    [urgent] = add_images(database, 1)
    assert dispatcher.dispatch() == 1
    assert list(prefect.images.values())[-1] == [urgent.id]
    add_images(database, 1)
    assert dispatcher.dispatch() == 0, "one more, and no more"
    assert list(prefect.queues.values()) == [Lane.BULK, Lane.BULK, Lane.INTERACTIVE]


def test_a_bulk_run_that_has_its_turn_goes_by_the_interactive_queue_while_others_wait_there(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    add_images(database, 8, lane=Lane.BULK)
    add_images(database, 40)
    while Lane.BULK not in (lanes := lanes_of(database)):
        run_id = dispatcher.reserve()
        assert run_id
        dispatcher._create(run_id)
        claims.close(run_id)
    assert len(lanes) <= settings.bulk_every
    assert set(prefect.queues.values()) == {Lane.INTERACTIVE}


def lanes_of(database: Database) -> list[Lane]:
    with database.read() as session:
        return list(session.scalars(select(Run.lane)))


def test_only_as_many_bulk_runs_yield_as_interactive_runs_wait(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    add_images(database, 16, lane=Lane.BULK)
    dispatcher.dispatch()
    first, second = prefect.created
    for run_id in (first, second):
        start(claims, prefect, run_id)
    assert not claims.must_yield(first)
    add_images(database, 1)
    assert claims.must_yield(first) and not claims.must_yield(second), "it waits in the queue"
    dispatcher.dispatch()
    assert claims.must_yield(first) and not claims.must_yield(second), "its run waits for a slot"
    start(claims, prefect, list(prefect.created)[-1])
    assert not claims.must_yield(first), "it runs"


def test_after_an_outage_of_the_database_runs_have_time_to_renew_their_lease(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns
) -> None:
    [image] = add_images(database, 1)
    dispatcher.dispatch()
    [run_id] = prefect.created
    start(claims, prefect, run_id)
    with database.write() as session:
        session.execute(update(Run).values(lease_until=Run.created_at))
    event.listen(database.engine, "connect", read_only)
    database.close()
    with pytest.raises(Unavailable):
        dispatcher.dispatch()
    event.remove(database.engine, "connect", read_only)
    dispatcher.dispatch()
    claims.renew(run_id)
    dispatcher.dispatch()
    after = reload(database, image)
    assert (after.status, after.run_id, after.attempts) == (ImageStatus.PROCESSING, run_id, 0)


def read_only(connection: Any, _record: object) -> None:
    """Let a new connection be as one of a server, or to a file, that cannot be written."""
    sqlite = isinstance(connection, sqlite3.Connection)
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON" if sqlite else "SET default_transaction_read_only = on")
    cursor.close()
    connection.commit()
