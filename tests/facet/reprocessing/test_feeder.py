"""Which images a reprocessing takes, how many at a time, and that each is taken once."""

from datetime import timedelta
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from facet.jobs import Failure
from facet.persistence.database import Database
from facet.persistence.models import (
    Delivery,
    DeliveryState,
    Image,
    ImageStatus,
    Lane,
    ReprocessedImage,
    ReprocessedImageState,
    Reprocessing,
)
from facet.persistence.models import ReprocessingState as State
from facet.reprocessing.feeder import Feeder, NotClaimed
from facet.reprocessing.report import as_markdown, read_report
from facet.reprocessing.reprocessings import ReprocessingOver, Reprocessings
from facet.reprocessing.request import ReprocessingRequest
from facet.settings import Settings
from facet.work.claims import Claims
from tests.facet.reprocessing.conftest import NEW, Detect
from tests.support.images import add_images, reload

RUN = uuid4()


def open_images(database: Database) -> list[UUID]:
    with database.read() as session:
        return list(
            session.scalars(
                select(ReprocessedImage.image_id).where(ReprocessedImage.state == ReprocessedImageState.OPEN)
            )
        )


def begin(reprocessings: Reprocessings, feeder: Feeder, **request: Any) -> UUID:
    asked = reprocessings.create(ReprocessingRequest(**request))
    return feeder.begin(asked.id, RUN, NEW).id


def finish(database: Database, feeder: Feeder, detect: Detect, reprocessing_id: UUID) -> int:
    """Step and detect until it is over; returns the most images that waited at a time."""
    most = 0
    while feeder.step(reprocessing_id, RUN).state is State.ACTIVE:
        waiting = open_images(database)
        most = max(most, len(waiting))
        detect(waiting[:5], faces=2, detector=NEW)
    return most


def test_every_image_is_done_once_and_few_wait_at_a_time(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    images = add_images(database, 34)
    detect(images)
    before = {image.id: reload(database, image).claim_epoch for image in images}
    reprocessing_id = begin(reprocessings, feeder)
    assert finish(database, feeder, detect, reprocessing_id) == 24
    after = [reload(database, image) for image in images]
    assert {image.detector for image in after} == {NEW}
    assert all(image.claim_epoch == before[image.id] + 2 for image in after), "put in the queue once, claimed once"
    assert {image.lane for image in after} == {Lane.INTERACTIVE}
    report = read_report(database, reprocessing_id)
    assert (report.images, report.faces_before, report.faces_after) == ({ReprocessedImageState.COMPLETED: 34}, 34, 68)
    assert (report.changed, len(report.first_changed)) == (34, 34)
    assert report.images_per_second > 0
    page = as_markdown(report, Settings())
    assert f"| [{images[0].id}](http://127.0.0.1:8000/v1/images/{images[0].id}) | request-0 | 1 | 2 |" in page


@pytest.mark.parametrize(
    ("request_", "taken"),
    [
        ({"other_detector": False}, "012345"),
        ({}, "1345"),
        ({"statuses": ["failed"]}, "5"),
        ({"statuses": ["cancelled"]}, "6"),
        ({"request_id_prefix": "request-1"}, "1"),
        ({"request_id_prefix": "request_"}, ""),
        ({"at_most": 2}, "13"),
        ({"submitted_within_hours": 1}, "1345"),
    ],
)
def test_only_images_that_match_are_taken(
    database: Database,
    claims: Claims,
    reprocessings: Reprocessings,
    feeder: Feeder,
    detect: Detect,
    request_: dict[str, Any],
    taken: str,
) -> None:
    images = add_images(database, 8)  # 7 waits
    detect([images[0], images[2]], detector=NEW)
    detect([images[n] for n in (1, 3, 4)])
    for number in (5, 6):
        [job] = claims.open([images[number].id], run_id=(run := uuid4()), flow_run_id=run, flow_run_name="r")
        claims.fail(job, Failure(code="error", reason="no"))
    with database.write() as session:
        session.execute(update(Image).where(Image.id == images[6].id).values(status=ImageStatus.CANCELLED))
    reprocessing_id = begin(reprocessings, feeder, **request_)
    step = feeder.step(reprocessing_id, RUN)
    assert sorted(open_images(database)) == sorted(images[int(n)].id for n in taken)
    assert (step.total, step.taken) == (len(taken), len(taken))


def test_date_ranges_and_images_of_later_are_left_out(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    images = add_images(database, 4)
    detect(images)
    with database.write() as session:
        now = database.now(session)
        for number, image in enumerate(images):
            at = now - timedelta(hours=number)
            session.execute(update(Image).where(Image.id == image.id).values(created_at=at))
    first = begin(
        reprocessings,
        feeder,
        submitted_from=now - timedelta(hours=2.5),
        submitted_until=now - timedelta(hours=0.5),
    )
    detect(add_images(database, 1))
    feeder.step(first, RUN)
    assert sorted(open_images(database)) == sorted(image.id for image in images[1:3])


def test_a_dry_run_counts_and_changes_nothing(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    detect(add_images(database, 3))
    reprocessing_id = begin(reprocessings, feeder, dry_run=True, at_most=2)
    step = feeder.step(reprocessing_id, RUN)
    assert (step.state, step.total, step.taken, open_images(database)) == (State.COMPLETED, 2, 0, [])


def test_the_former_result_is_read_until_the_new_one_takes_its_place(
    database: Database, claims: Claims, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    [image] = add_images(database, 1)
    detect([image], faces=3)
    feeder.step(begin(reprocessings, feeder, min_confidence=0.5, min_face_size=44), RUN)
    waiting = reload(database, image)
    assert (waiting.status, waiting.lane, waiting.detector) == (ImageStatus.QUEUED, Lane.BULK, "mtcnn 1")
    run_id = uuid4()
    [job] = claims.open([image.id], run_id=run_id, flow_run_id=run_id, flow_run_name="bulk")
    assert (job.min_confidence, job.min_face_size) == (0.5, 44)
    assert job.timings["waited"] < 60
    claims.store_faces([job.with_changes(faces=[], detector=NEW)])
    with database.read() as session:
        assert len(session.get_one(Image, image.id).faces) == 3, "not yet complete"
    claims.complete([job.with_changes(faces=[], detector=NEW)])
    with database.read() as session:
        done = session.get_one(Image, image.id)
        assert (len(done.faces), done.detector, done.reprocessing_id) == (0, NEW, None)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_an_image_that_cannot_be_redone_keeps_its_result_and_the_report_says_so(
    database: Database, claims: Claims, reprocessings: Reprocessings, feeder: Feeder, detect: Detect, how: str
) -> None:
    [image] = add_images(database, 1, callback_url="http://127.0.0.1:9/x")
    detect([image], faces=3)
    before = reload(database, image)
    reprocessing_id = begin(reprocessings, feeder, min_confidence=0.5, call_back=True)
    feeder.step(reprocessing_id, RUN)
    [job] = claims.open([image.id], run_id=(run := uuid4()), flow_run_id=run, flow_run_name="bulk")
    if how == "failed":
        claims.fail(job, Failure(code="object-missing", reason="It is | gone."))
    else:
        with database.write() as session:
            row = session.get_one(Image, image.id, with_for_update=True)
            claims.end(session, row, ImageStatus.CANCELLED, Failure(code="cancelled", reason="cancelled"))
    after = reload(database, image)
    for name in ("status", "finished_at", "failure_code", "min_confidence", "result_epoch", "detector", "lane"):
        assert getattr(after, name) == getattr(before, name), name
    with database.read() as session:
        assert len(session.get_one(Image, image.id).faces) == 3
        assert session.scalar(select(func.count()).select_from(Delivery)) == 1, "the result that it has was told"
    feeder.step(reprocessing_id, RUN)
    feeder.step(reprocessing_id, RUN)
    report = read_report(database, reprocessing_id)
    assert report.reprocessing.state is State.COMPLETED
    assert report.images == {ReprocessedImageState(how): 1}
    if how == "failed":
        assert "| 1 | object-missing | It is \\| gone. |" in as_markdown(report, Settings())


@pytest.mark.parametrize(("call_back", "pending", "told"), [(False, False, 1), (True, False, 2), (False, True, 2)])
def test_senders_are_told_again_if_asked_for_or_if_they_still_wait(
    database: Database,
    reprocessings: Reprocessings,
    feeder: Feeder,
    detect: Detect,
    call_back: bool,
    pending: bool,
    told: int,
) -> None:
    [image] = add_images(database, 1, callback_url="http://127.0.0.1:9/x")
    detect([image])
    if not pending:
        with database.write() as session:
            session.execute(update(Delivery).values(state=DeliveryState.FAILED))
    feeder.step(begin(reprocessings, feeder, call_back=call_back), RUN)
    detect([image], detector=NEW)
    with database.read() as session:
        states = session.scalars(select(Delivery.state).order_by(Delivery.epoch)).all()
    assert states == [DeliveryState.FAILED, DeliveryState.PENDING][:told]


def test_one_that_is_killed_goes_on_where_it_was_and_its_first_run_is_put_off(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    images = add_images(database, 20)
    detect(images)
    reprocessing_id = begin(reprocessings, feeder)
    feeder.step(reprocessing_id, RUN)
    second = uuid4()
    with pytest.raises(NotClaimed):
        feeder.begin(reprocessing_id, second, NEW)
    with database.write() as session:
        session.execute(update(Reprocessing).values(lease_until=Reprocessing.created_at))
    feeder.begin(reprocessing_id, second, "mtcnn 3")
    with pytest.raises(NotClaimed):
        feeder.step(reprocessing_id, RUN)
    detect(open_images(database), detector=NEW)
    while feeder.step(reprocessing_id, second).state is State.ACTIVE:
        detect(open_images(database), detector=NEW)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(ReprocessedImage)) == 20
        assert session.get_one(Reprocessing, reprocessing_id).detector == NEW


def test_flow_runs_that_step_at_the_same_time_take_each_image_once(
    database: Database, reprocessings: Reprocessings, settings: Settings, detect: Detect
) -> None:
    images = add_images(database, 24)
    detect(images)
    reprocessing_id = begin(reprocessings, Feeder(database, settings))

    def work() -> None:
        feeder = Feeder(database, settings)
        while feeder.step(reprocessing_id, RUN).state is State.ACTIVE:
            detect(open_images(database), detector=NEW)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {reload(database, image).detector for image in images} == {NEW}
    with database.read() as session:
        assert session.get_one(Reprocessing, reprocessing_id).taken == 24


def test_pause_takes_no_more_and_resume_goes_on(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    detect(add_images(database, 24))
    reprocessing_id = begin(reprocessings, feeder)
    feeder.step(reprocessing_id, RUN)
    reprocessings.pause(reprocessing_id)
    detect(open_images(database), detector=NEW)
    assert (feeder.step(reprocessing_id, RUN).state, open_images(database)) == (State.PAUSED, [])
    reprocessings.resume(reprocessing_id)
    feeder.begin(reprocessing_id, RUN, NEW)
    finish(database, feeder, detect, reprocessing_id)
    with database.read() as session:
        assert session.get_one(Reprocessing, reprocessing_id).taken == 24


def test_cancel_makes_what_still_waits_what_it_was(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    images = add_images(database, 30)
    detect(images)
    reprocessing_id = begin(reprocessings, feeder, min_face_size=99)
    feeder.step(reprocessing_id, RUN)
    detect([images[0]], detector=NEW)
    reprocessings.cancel(reprocessing_id)
    assert feeder.step(reprocessing_id, RUN).state is State.CANCELLED
    after = [reload(database, image) for image in images]
    assert {(image.status, image.min_face_size) for image in after[1:]} == {(ImageStatus.COMPLETED, 20)}
    assert [image.detector for image in after] == [NEW] + ["mtcnn 1"] * 29
    assert read_report(database, reprocessing_id).images == {
        ReprocessedImageState.COMPLETED: 1,
        ReprocessedImageState.CANCELLED: 23,
    }
    with pytest.raises(ReprocessingOver):
        reprocessings.resume(reprocessing_id)


def test_one_is_worked_on_at_a_time_and_none_passes_over_the_others_images(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    detect(add_images(database, 30))
    first = begin(reprocessings, feeder)
    second = begin(reprocessings, feeder, other_detector=False)
    feeder.step(first, RUN)
    assert feeder.step(second, RUN).waits_for == first
    reprocessings.pause(first)
    assert feeder.step(second, RUN).taken == 0, "some of the first one's images are still in the queue"
    detect(open_images(database), detector=NEW)
    assert feeder.step(second, RUN).taken == 24


def test_an_image_that_is_removed_meanwhile_holds_nothing_up(
    database: Database, reprocessings: Reprocessings, feeder: Feeder, detect: Detect
) -> None:
    [image] = add_images(database, 1)
    detect([image])
    reprocessing_id = begin(reprocessings, feeder)
    feeder.step(reprocessing_id, RUN)
    with database.write() as session:
        session.execute(update(Image).values(deleted_at=Image.created_at))
    feeder.step(reprocessing_id, RUN)
    assert feeder.step(reprocessing_id, RUN).state is State.COMPLETED
