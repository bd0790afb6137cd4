"""Maintenance on real databases and object stores; Prefect is a record of calls here, and real in tests/flows."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from facet.annotations import Annotation
from facet.errors import ObjectNotFound, Unavailable
from facet.flow_runs import FlowRunStatus, Underway
from facet.intake.catalog import Catalog, Submission
from facet.intake.idempotency import IdempotencyKeys
from facet.jobs import Failure, FoundFace
from facet.maintenance import maintain
from facet.maintenance import objects as objects_module
from facet.maintenance.findings import Finding
from facet.maintenance.objects import GRACE, ObjectAudit
from facet.maintenance.retention import Retention
from facet.maintenance.timers import TimerAudit
from facet.persistence.database import Database, utcnow
from facet.persistence.maintenance_completion import Completion
from facet.persistence.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Face,
    IdempotencyKey,
    Image,
    ImageStatus,
    Maintenance,
    Run,
    RunState,
)
from facet.pictures.codec import decode
from facet.pictures.decoder import Decoder
from facet.principals import EVERYONE
from facet.services import Services
from facet.settings import Settings
from facet.storage import FolderStore, ObjectStore
from facet.storage.s3 import S3Store
from facet.work.claims import Claims
from facet.work.dispatcher import Dispatcher
from tests.support.databases import make_tables
from tests.support.flow_runs import RecordedFlowRuns, age_runs, start
from tests.support.images import add_images, picture, reload

FACE = FoundFace(confidence=0.99, box=[10, 10, 20, 20], keypoints={"nose": [20, 20]})
URL = "http://127.0.0.1:1/callback"
AT_ONCE = timedelta(seconds=-60)
"""A grace after which everything that is stored now is old."""

Audit = Callable[..., dict[str, Finding]]


@pytest.fixture
def prefect() -> RecordedFlowRuns:
    return RecordedFlowRuns()


@pytest.fixture
def dispatcher(database: Database, claims: Claims, prefect: RecordedFlowRuns, settings: Settings) -> Dispatcher:
    return Dispatcher(database, claims, prefect, settings)


@pytest.fixture
def timers(database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings) -> TimerAudit:
    return TimerAudit(database, dispatcher, prefect, settings)


@pytest.fixture
def catalog(database: Database, store: ObjectStore, settings: Settings) -> Catalog:
    return Catalog(database, store, Decoder(settings), settings)


@pytest.fixture
def audit(database: Database, store: ObjectStore, catalog: Catalog, claims: Claims, settings: Settings) -> Audit:
    def run(grace: timedelta = AT_ONCE) -> dict[str, Finding]:
        return found(ObjectAudit(database, store, catalog, claims, settings, grace=grace).run())

    return run


def found(findings: list[Finding]) -> dict[str, Finding]:
    """Those that found anything, by the first two words of their kind."""
    return {" ".join(finding.kind.split()[:2]): finding for finding in findings if finding.found}


def counts(findings: dict[str, Finding]) -> dict[str, tuple[int, int]]:
    return {kind: (finding.found, finding.mended) for kind, finding in findings.items()}


def accept(catalog: Catalog, **changes: Any) -> Image:
    fields: dict[str, Any] = {
        "data": picture(),
        "image_url": None,
        "request_id": "r",
        "filename": None,
        "callback_url": URL,
        "min_confidence": 0.9,
        "min_face_size": 20,
        "annotation": Annotation.BOXES,
    }
    image = catalog.store(Submission(**fields | changes))
    catalog.commit([image])
    return image


def complete(claims: Claims, store: ObjectStore, image: Image) -> UUID:
    """Process the image as a run does; returns the run's id."""
    run_id = uuid4()
    [job] = claims.open([image.id], run_id=run_id, flow_run_id=uuid4(), flow_run_name="run")
    job = job.with_changes(faces=[FACE], detector="test 1")
    claims.store_faces([job])
    store.put(job.annotated_key, b"drawn", "image/jpeg")
    claims.complete([job])
    claims.close(run_id)
    return run_id


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


# ---- what the dispatchers' timers keep right


@pytest.mark.parametrize("run_status", [FlowRunStatus.UNDERWAY, FlowRunStatus.STALE])
def test_a_quiet_system_has_nothing_to_mend(
    database: Database,
    claims: Claims,
    dispatcher: Dispatcher,
    prefect: RecordedFlowRuns,
    timers: TimerAudit,
    run_status: FlowRunStatus,
) -> None:
    """Its run may be long, and is looked after by its lease."""
    add_images(database, 1)
    dispatcher.dispatch()
    start(claims, prefect, *prefect.created)
    [created] = prefect.created.values()
    prefect.run_status[created.flow_run_id] = run_status
    age_runs(database)
    begun = time.monotonic()
    assert found(timers.run()) == {}
    assert time.monotonic() - begun < 5, "no second look without a first finding"


def test_what_every_timer_missed_is_mended_and_told(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns, settings: Settings
) -> None:
    """All at once: a lapsed lease, a batch without a flow run, one over in Prefect, and images that nothing holds."""
    settings = settings.model_copy(update={"max_runs": 5})
    dispatcher = Dispatcher(database, claims, prefect, settings)
    lapsed, over, uncreated, held, adrift, waiting = add_images(database, 6)

    def reserved(image: Image) -> UUID:
        with database.write() as session:
            session.execute(update(Image).values(available_at=datetime.now(UTC) + timedelta(hours=1)))
            session.execute(update(Image).where(Image.id == image.id).values(available_at=image.created_at))
        run_id = dispatcher.reserve()
        assert run_id
        return run_id

    dispatcher._create(run := reserved(lapsed))
    start(claims, prefect, run)
    dispatcher._create(run_over := reserved(over))
    start(claims, prefect, run_over)
    prefect.run_status[prefect.created[run_over].flow_run_id] = FlowRunStatus.CRASHED
    reserved(uncreated)
    with database.write() as session:
        session.execute(update(Run).where(Run.id == run).values(lease_until=Run.created_at))
        session.add(Run(id=(dead := uuid4()), state=RunState.OVER))
        session.flush()
        session.execute(update(Image).where(Image.id == held.id).values(run_id=dead))
        session.execute(update(Image).where(Image.id == adrift.id).values(status=ImageStatus.PROCESSING))
        session.execute(update(Image).where(Image.id == waiting.id).values(available_at=Image.created_at))
    age_runs(database)
    findings = found(TimerAudit(database, dispatcher, prefect, settings).run(pause=0))
    assert counts(findings) == {
        "Runs whose": (1, 1),
        "Batches without": (1, 1),
        "Runs that": (1, 1),
        "Images held": (2, 2),
        "Images that": (1, 1),
    }
    assert all(finding.timers for finding in findings.values())
    assert found(TimerAudit(database, dispatcher, prefect, settings).run(pause=0)) == {}
    assert [reload(database, image).status for image in (held, adrift)] == [ImageStatus.QUEUED] * 2
    assert reload(database, held).run_id is not dead
    assert [reload(database, image).attempts for image in (lapsed, over, uncreated, held, adrift)] == [1, 1, 0, 0, 0]


def test_what_a_timer_mends_meanwhile_is_not_found(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns, timers: TimerAudit
) -> None:
    add_images(database, 1)
    look = timers._look
    looks: list[object] = []

    def watched() -> dict[str, set[UUID]]:
        seen = look()
        looks.append(seen)
        dispatcher.dispatch()
        return seen

    timers._look = watched  # type: ignore[method-assign]
    assert found(timers.run(pause=0)) == {}
    assert len(looks) == 2


def test_a_flow_run_that_died_before_it_started_is_crashed_and_its_images_go_on_uncharged(
    database: Database, dispatcher: Dispatcher, prefect: RecordedFlowRuns, timers: TimerAudit
) -> None:
    [image] = add_images(database, 1)
    dispatcher.dispatch()
    [created] = prefect.created.values()
    age_runs(database)
    prefect.stuck = [Underway(created.flow_run_id, started=False)]
    assert counts(found(timers.run(pause=0))) == {"Flow runs": (1, 1)}
    assert prefect.crashed == [created.flow_run_id]
    after = reload(database, image)
    assert (after.status, after.run_id, after.attempts) == (ImageStatus.QUEUED, None, 0)


def test_a_flow_run_whose_run_is_over_here_is_crashed_and_a_live_one_is_not(
    database: Database, claims: Claims, dispatcher: Dispatcher, prefect: RecordedFlowRuns, timers: TimerAudit
) -> None:
    add_images(database, 1)
    dispatcher.dispatch()
    start(claims, prefect, *prefect.created)
    [created] = prefect.created.values()
    unknown = uuid4()
    prefect.stuck = [Underway(created.flow_run_id, started=True), Underway(unknown, started=True)]
    assert counts(found(timers.run(pause=0))) == {"Flow runs": (1, 1)}
    assert prefect.crashed == [unknown]


# ---- objects and rows


def test_what_fits_is_left_alone(claims: Claims, store: ObjectStore, catalog: Catalog, audit: Audit) -> None:
    done, waiting, at_work = (accept(catalog) for _ in range(3))
    complete(claims, store, done)
    [job] = claims.open([at_work.id], run_id=uuid4(), flow_run_id=uuid4(), flow_run_name="run")
    store.put(job.annotated_key, b"not yet complete", "image/jpeg")
    before = [found.key for found in store.objects("images/")]
    assert audit() == {}
    assert [found.key for found in store.objects("images/")] == before
    assert len(before) == 5 and catalog.find(waiting.id, EVERYONE)


def test_objects_without_a_row_and_of_former_results_are_removed_and_strangers_are_not(
    database: Database,
    claims: Claims,
    store: ObjectStore,
    catalog: Catalog,
    audit: Audit,
) -> None:
    done, failed, again = (accept(catalog) for _ in range(3))
    complete(claims, store, done)
    complete(claims, store, failed)
    with database.write() as session:
        session.execute(
            update(Image).where(Image.id == failed.id).values(status=ImageStatus.FAILED, annotated_key=None)
        )
    claims.open([again.id], run_id=(run := uuid4()), flow_run_id=run, flow_run_name="run")
    claims.open([again.id], run_id=run, flow_run_id=run, flow_run_name="run")
    keys = {found.key for found in store.objects("images/")}
    stray = {
        f"images/{uuid4()}/original",
        f"images/{uuid4()}/annotated-3.jpg",
        f"{done.prefix}annotated-7.jpg",
        f"{failed.prefix}annotated-1.jpg",
        f"{again.prefix}annotated-1.jpg",
        f"images/{uuid4()}/.cut-short",
    }
    strangers = {"images/notes.txt", f"images/{done.id}-old/original", f"{done.prefix}notes.txt"}
    for key in sorted(stray | strangers - keys):
        store.put(key, b"x", "image/jpeg")
    findings = audit()
    assert counts(findings) == {"Objects without": (6, 6), "Objects that": (3, 0)}
    assert {found.key for found in store.objects("images/")} == (keys - stray) | strangers
    assert counts(audit()) == {"Objects that": (3, 0)}


def test_parts_of_uploads_that_were_cut_short_are_removed(store: ObjectStore, audit: Audit) -> None:
    if isinstance(store, FolderStore):  # a file that was cut short is an object there, and is removed as a stray
        assert list(store.abort_uploads("images/", datetime.now(UTC))) == []
        return
    assert isinstance(store, S3Store)
    key = f"images/{uuid4()}/original"
    upload = store._client._create_multipart_upload(store._bucket, key, {})
    store._client._upload_part(store._bucket, key, b"x" * 5 * 2**20, None, upload, 1)
    findings = audit()
    assert counts(findings) == {"Uploads in": (1, 1)}
    assert findings["Uploads in"].examples == [key]
    assert audit() == {}


def test_a_young_object_is_left_alone_by_the_stores_own_time(
    tmp_path: Path, database: Database, claims: Claims, settings: Settings
) -> None:
    store = FolderStore(tmp_path / "objects")
    store.put("images/00000000-0000-0000-0000-000000000000/original", b"on its way", "image/png")
    old = "images/00000000-0000-0000-0000-000000000001/original"
    store.put(old, b"left", "image/png")
    long_ago = time.time() - GRACE.total_seconds() - 5
    os.utime(tmp_path / "objects" / old, (long_ago, long_ago))
    catalog = Catalog(database, store, Decoder(settings), settings)
    findings = found(ObjectAudit(database, store, catalog, claims, settings).run())
    assert findings["Objects without"].examples == [old]
    assert len(list(store.objects("images/"))) == 1


def test_a_waiting_image_without_its_original_fails_and_its_sender_is_told(
    database: Database, claims: Claims, store: ObjectStore, catalog: Catalog, audit: Audit
) -> None:
    waiting, done, held = (accept(catalog) for _ in range(3))
    complete(claims, store, done)
    claims.open([held.id], run_id=uuid4(), flow_run_id=uuid4(), flow_run_name="run")
    for image in (waiting, done, held):
        store.delete(image.original_key)
    findings = audit()
    assert counts(findings) == {"Unfinished images": (2, 1), "Ended images": (1, 0)}
    failed = reload(database, waiting)
    assert (failed.status, failed.failure_code) == (ImageStatus.FAILED, "object-missing")
    with database.read() as session:
        body = session.scalars(select(Delivery.body).where(Delivery.image_id == waiting.id)).one()
    assert '"code":"object-missing"' in body
    assert reload(database, held).status is ImageStatus.PROCESSING
    readable = catalog.find(done.id, EVERYONE)
    assert readable and (readable.status, len(readable.faces)) == (ImageStatus.COMPLETED, 1)
    assert counts(audit()) == {"Unfinished images": (1, 0), "Ended images": (1, 0)}, "told once"


def test_a_lost_annotated_picture_is_drawn_anew_or_no_longer_promised(
    database: Database, claims: Claims, store: ObjectStore, catalog: Catalog, audit: Audit
) -> None:
    drawn, gone = accept(catalog), accept(catalog)
    for image in (drawn, gone):
        complete(claims, store, image)
        store.delete(reload(database, image).annotated_key or "")
    store.delete(gone.original_key)
    assert counts(audit()) == {"Annotated pictures": (2, 2), "Ended images": (1, 0)}
    found = catalog.find(drawn.id, EVERYONE)
    assert found
    pixels = decode(catalog.annotated(found) or b"", max_pixels=10**6).astype(int)
    assert pixels[20, 10][1] > pixels[20, 10][0] + 40, "the left edge of the face's box is green"
    assert reload(database, gone).annotated_key is None
    assert counts(audit()) == {"Ended images": (1, 0)}


def test_a_deletion_that_was_cut_short_is_finished(
    database: Database, claims: Claims, store: ObjectStore, catalog: Catalog, audit: Audit
) -> None:
    image, recent = accept(catalog), accept(catalog)
    complete(claims, store, image)
    store.delete(image.original_key)  # as far as it came
    with database.write() as session:
        session.execute(update(Image).values(deleted_at=utcnow()))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        session.execute(update(Image).where(Image.id == image.id).values(deleted_at=yesterday))
    assert counts(audit(GRACE)) == {"Deletions that": (1, 1)}
    assert [count(database, table) for table in (Image, Face, Delivery)] == [1, 0, 0]
    assert [found.key for found in store.objects("images/")] == [recent.original_key]


def test_a_wrong_database_or_store_costs_nothing(
    database: Database,
    claims: Claims,
    store: ObjectStore,
    catalog: Catalog,
    audit: Audit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects_module, "_SUSPICIOUS", 3)
    for _ in range(4):
        store.put(f"images/{uuid4()}/original", b"x", "image/png")
    findings = audit()
    assert counts(findings) == {"Objects without": (4, 0)}
    assert "right database" in (findings["Objects without"].alarm or "")
    images = add_images(database, 5)  # without objects
    findings = audit()
    assert findings["Unfinished images"].mended == 0
    assert {reload(database, image).status for image in images} == {ImageStatus.QUEUED}


def test_many_rows_and_objects_fit_page_by_page(
    database: Database, tmp_path: Path, claims: Claims, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects_module, "_PAGE", 7)
    monkeypatch.setattr("facet.storage.folder._SORTED_AT_ONCE", 5)
    store = FolderStore(tmp_path / "objects")
    for image in add_images(database, 40):
        store.put(image.original_key, b"x", "image/png")
    strays = sorted(f"images/{uuid4()}/original" for _ in range(9))
    for key in strays:
        store.put(key, b"x", "image/png")
    catalog = Catalog(database, store, Decoder(settings), settings)
    findings = found(ObjectAudit(database, store, catalog, claims, settings, grace=AT_ONCE).run())
    assert counts(findings) == {"Objects without": (9, 9)}
    assert findings["Objects without"].examples == strays[:5]


# ---- what is past its time


def age(database: Database, *images: Image, days: int = 10) -> None:
    """Everything of these images happened so many days earlier."""
    with database.write() as session:
        for image in session.scalars(select(Image).where(Image.id.in_([image.id for image in images]))):
            image.created_at -= timedelta(days=days)
            image.finished_at = image.finished_at and image.finished_at - timedelta(days=days)
            for delivery in image.deliveries:
                delivery.created_at -= timedelta(days=days)
                delivery.finished_at = delivery.finished_at and delivery.finished_at - timedelta(days=days)


def end_deliveries(database: Database, image: Image) -> None:
    with database.write() as session:
        session.execute(
            update(Delivery)
            .where(Delivery.image_id == image.id)
            .values(state=DeliveryState.DELIVERED, finished_at=utcnow())
        )


def retain(database: Database, catalog: Catalog, days: int | None = 7) -> dict[str, int]:
    keys = IdempotencyKeys(database, hours=1)
    findings = Retention(database, catalog, keys, Settings(retention_days=days)).run()
    return {finding.kind.split()[0]: finding.mended for finding in findings if finding.mended}


def test_old_images_go_with_all_that_is_theirs_and_the_rest_stays(
    database: Database, claims: Claims, store: ObjectStore, catalog: Catalog
) -> None:
    old, owed, told_lately, waiting, recent = (accept(catalog) for _ in range(5))
    for image in (old, owed, told_lately, recent):
        complete(claims, store, image)
    for image in (old, recent):
        end_deliveries(database, image)
    with database.write() as session:
        for delivery in session.scalars(select(Delivery)):
            session.add(DeliveryAttempt(delivery_id=delivery.id, number=1, at=utcnow()))
    age(database, old, owed, told_lately, waiting)
    end_deliveries(database, told_lately)
    assert retain(database, catalog, None) == {}, "off by default"
    assert retain(database, catalog) == {"Images": 1}
    assert catalog.find(old.id, EVERYONE) is None
    assert all(catalog.find(image.id, EVERYONE) for image in (owed, told_lately, waiting, recent))
    assert list(store.keys(old.prefix)) == []
    assert {count(database, table) for table in (Face, Delivery, DeliveryAttempt)} == {3}


def test_old_runs_former_callbacks_and_spent_keys_go(
    database: Database, claims: Claims, store: ObjectStore, catalog: Catalog
) -> None:
    image, failed = accept(catalog), accept(catalog)
    kept = complete(claims, store, image)
    [job] = claims.open([failed.id], run_id=(run := uuid4()), flow_run_id=uuid4(), flow_run_name="run")
    claims.fail(job, Failure(code="error", reason="no"))
    claims.close(run)
    complete(claims, store, failed)  # by a retry: its first callback is superseded, its first run holds nothing
    with database.write() as session:
        weeks_ago = datetime.now(UTC) - timedelta(days=20)
        session.execute(update(Run).values(finished_at=weeks_ago))
        session.execute(update(Delivery).values(created_at=weeks_ago))
        session.execute(update(Delivery).where(Delivery.finished_at.is_not(None)).values(finished_at=weeks_ago))
        for number in range(250):
            session.add(
                IdempotencyKey(
                    owner="",
                    key=str(number),
                    fingerprint="",
                    holder=uuid4(),
                    lease_until=weeks_ago,
                    expires_at=weeks_ago,
                )
            )
    assert retain(database, catalog) == {"Idempotency": 250, "Deliveries": 1, "Runs": 1}
    assert reload(database, image).run_id == kept
    assert (count(database, Image), count(database, Delivery), count(database, IdempotencyKey)) == (2, 2, 0)


def test_a_removal_that_the_store_cut_short_is_finished_later(
    database: Database, claims: Claims, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path / "objects")
    catalog = Catalog(database, store, Decoder(settings), settings)
    image = accept(catalog, callback_url=None)
    complete(claims, store, image)
    age(database, image)

    def down(key: str) -> None:
        raise Unavailable("The store is down.")

    with monkeypatch.context() as broken, pytest.raises(Unavailable):
        broken.setattr(store, "delete", down)
        retain(database, catalog)
    assert catalog.find(image.id, EVERYONE) is None
    with database.write() as session:
        session.execute(update(Image).values(deleted_at=datetime.now(UTC) - timedelta(days=1)))
    findings = found(ObjectAudit(database, store, catalog, claims, settings).run())
    assert counts(findings) == {"Deletions that": (1, 1)}
    with pytest.raises(ObjectNotFound):
        store.get(image.original_key)


# ---- all of it


def test_a_part_that_cannot_be_done_holds_up_none_of_the_others(tmp_path: Path) -> None:
    services = Services(Settings(home=tmp_path))
    make_tables(services.database)
    prefect = RecordedFlowRuns()
    dispatcher = Dispatcher(services.database, services.claims, prefect, services.settings)
    image = accept(services.catalog)
    services.store.delete(image.original_key)
    add_images(services.database, 1)
    dispatcher.reserve()
    prefect.down = True
    with services.database.write() as session:
        session.execute(update(Run).values(flow_run_id=uuid4()))
        session.execute(update(Image).where(Image.id == image.id).values(run_id=None))
    report = maintain(services, dispatcher, prefect)
    assert report.errors == ["Prefect is down."]
    assert counts(found(list(report.findings)))["Unfinished images"][1] == 1
    assert "1 mended" in report.summary and "Prefect is down." in report.summary
    services.database.close()


def test_maintenance_is_overdue_when_it_has_not_completed_for_long(database: Database, settings: Settings) -> None:
    completion = Completion(database, settings)

    def expected(ago: timedelta) -> None:
        with database.write() as session:
            session.execute(update(Maintenance).values(expected_since=database.now(session) - ago))

    assert completion.age().complaint is None, "a new installation"
    expected(timedelta(hours=4))
    assert completion.age().complaint == "`maintain` has not completed for 4.0 hours."
    completion.record()
    assert completion.age().seconds < 60 and completion.age().complaint is None


def test_only_maintenance_that_did_all_of_it_has_completed(
    database: Database, store: ObjectStore, settings: Settings, prefect: RecordedFlowRuns, monkeypatch: Any
) -> None:
    services = Services(settings)
    services.__dict__ |= {"database": database, "store": store}
    dispatcher = Dispatcher(database, services.claims, prefect, settings)

    def completed() -> bool:
        with database.read() as session:
            return session.get_one(Maintenance, 1).completed_at is not None

    def away(prefix: str) -> Any:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as outage:
        outage.setattr(store, "objects", away)
        assert maintain(services, dispatcher, prefect).errors == ["The store does not answer."]
    assert not completed()
    assert maintain(services, dispatcher, prefect).errors == [] and completed()
