import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from facet.jobs import Failure, FoundFace, ImageJob
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Delivery, Face, Image, ImageStatus, Run, RunState
from facet.settings import Settings
from facet.work.claims import Claims, LostClaim
from tests.support.images import add_images, reload

FACE = FoundFace(confidence=0.99, box=[1, 2, 3, 4], keypoints={"nose": [2, 3]})
FAILURE = Failure(code="undecodable", reason="The picture does not decode.")


def open_run(claims: Claims, images: list[Image], run_id: UUID | None = None) -> tuple[UUID, list[ImageJob]]:
    run_id = run_id or uuid4()
    return run_id, claims.open([i.id for i in images], run_id=run_id, flow_run_id=run_id, flow_run_name="test")


def finish(claims: Claims, job: ImageJob, faces: int = 1) -> list[str]:
    job = job.with_changes(faces=[FACE] * faces, detector="test 1")
    assert claims.store_faces([job]) == set()
    completion = claims.complete([job])
    assert completion.lost == set()
    return completion.replaced


def faces_of(database: Database, image: Image) -> list[Face]:
    with database.read() as session:
        return list(session.scalars(select(Face).where(Face.image_id == image.id)))


def test_a_claimed_image_is_processed_and_its_result_is_read(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1, callback_url="http://127.0.0.1/x")
    _, [job] = open_run(claims, [image])
    assert reload(database, image).status is ImageStatus.PROCESSING
    finish(claims, job, faces=2)
    done = reload(database, image)
    assert (done.status, done.result_epoch, done.annotated_key) == (ImageStatus.COMPLETED, job.epoch, job.annotated_key)
    assert len(faces_of(database, image)) == 2
    with database.read() as session:
        delivery = session.scalars(select(Delivery)).one()
    body = json.loads(delivery.body)
    assert body["faces"] == [FACE.model_dump()] * 2
    assert body["output_image_url"] == f"http://127.0.0.1:8000/v1/images/{image.id}/annotated"


def test_faces_are_replaced_never_appended(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1)
    _, [job] = open_run(claims, [image])
    job = job.with_changes(faces=[FACE] * 3, detector="test 1")
    claims.store_faces([job])
    claims.store_faces([job])
    assert len(faces_of(database, image)) == 3


def test_the_former_result_is_read_until_the_new_one_is_complete(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1)
    _, [first] = open_run(claims, [image])
    finish(claims, first, faces=1)
    with database.write() as session:
        session.execute(update(Image).values(status=ImageStatus.QUEUED, run_id=None))
    _, [second] = open_run(claims, [image])
    claims.store_faces([second.with_changes(faces=[FACE] * 4, detector="test 1")])
    between = reload(database, image)
    assert (between.result_epoch, between.annotated_key) == (first.epoch, first.annotated_key)
    assert claims.complete([second]).replaced == [first.annotated_key]
    assert {face.epoch for face in faces_of(database, image)} == {second.epoch}


def test_a_completed_image_is_not_claimed_again(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1)
    run_id, [job] = open_run(claims, [image])
    finish(claims, job)
    assert open_run(claims, [image], run_id)[1] == []


def test_an_image_alive_in_another_run_is_left_alone(database: Database, claims: Claims) -> None:
    images = add_images(database, 2)
    _, [job] = open_run(claims, images[:1])
    assert [j.image_id for j in open_run(claims, images)[1]] == [images[1].id]
    finish(claims, job)


@pytest.mark.parametrize("status", [ImageStatus.FAILED, ImageStatus.CANCELLED])
def test_a_retried_run_opens_failed_and_cancelled_images_again(
    database: Database, claims: Claims, status: ImageStatus
) -> None:
    [image] = add_images(database, 1)
    run_id, [job] = open_run(claims, [image])
    claims.fail(job, FAILURE)
    claims.close(run_id)
    with database.write() as session:
        session.execute(update(Image).values(status=status))
    _, [again] = open_run(claims, [image], run_id)
    assert again.epoch > job.epoch
    assert reload(database, image).failure_code is None


def test_writes_of_a_lost_claim_change_nothing(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1, callback_url="http://127.0.0.1/x")
    run_id, [old] = open_run(claims, [image])
    _, [new] = open_run(claims, [image], run_id)  # the same run, started anew elsewhere
    assert claims.store_faces([old.with_changes(faces=[FACE], detector="old")]) == {image.id}
    assert claims.complete([old]).lost == {image.id}
    for write in (
        lambda: claims.fail(old, FAILURE),
        lambda: claims.retry_later(old, FAILURE),
    ):
        with pytest.raises(LostClaim):
            write()
    assert faces_of(database, image) == []
    assert reload(database, image).status is ImageStatus.PROCESSING
    finish(claims, new)
    with database.read() as session:
        assert len(session.scalars(select(Delivery)).all()) == 1


def test_a_failed_image_owes_its_sender_the_reason(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1, callback_url="http://127.0.0.1/x")
    _, [job] = open_run(claims, [image])
    claims.fail(job, FAILURE)
    failed = reload(database, image)
    assert (failed.status, failed.failure_code, failed.failure_reason) == (
        ImageStatus.FAILED,
        *FAILURE.model_dump().values(),
    )
    with database.read() as session:
        body = json.loads(session.scalars(select(Delivery)).one().body)
    assert (body["status"], body["failure"], body["faces"]) == ("failed", FAILURE.model_dump(), [])


@pytest.mark.parametrize(("code", "attempts"), [("image-url-unavailable", 3), ("unavailable", 20)])
def test_a_retryable_failure_puts_the_image_back_for_later_and_at_last_fails_it(
    database: Database, settings: Settings, code: str, attempts: int
) -> None:
    claims = Claims(database, settings.model_copy(update={"max_outages": 20}))
    [image] = add_images(database, 1)
    failure = Failure(code=code, reason="It does not answer.")
    for _ in range(attempts - 1):
        _, [job] = open_run(claims, [image])
        assert claims.retry_later(job, failure)
        waiting = reload(database, image)
        assert (waiting.status, waiting.run_id) == (ImageStatus.QUEUED, None)
        with database.read() as session:
            now = database.now(session)
        assert timedelta(seconds=4) < waiting.available_at - now <= timedelta(minutes=5)
    _, [job] = open_run(claims, [image])
    assert not claims.retry_later(job, failure)
    failed = reload(database, image)
    assert failed.status is ImageStatus.FAILED
    assert failed.failure_reason == f"Given up after {attempts} attempts. It does not answer."
    _, [job] = open_run(claims, [image])
    assert claims.retry_later(job, failure), "who retries a failed image gives it all its attempts again"


def test_a_lease_is_renewed_up_to_the_deadline(database: Database, claims: Claims) -> None:
    [image] = add_images(database, 1)
    run_id, _ = open_run(claims, [image])

    def lease() -> object:
        with database.read() as session:
            return session.get_one(Run, run_id).lease_until

    first = lease()
    claims.renew(run_id)
    second = lease()
    assert second > first  # type: ignore[operator]
    with database.write() as session:
        session.execute(update(Run).values(deadline=utcnow()))
    claims.renew(run_id)
    assert lease() == second


def test_a_run_that_ends_by_itself_frees_its_slot_and_one_that_dies_does_not(
    database: Database, claims: Claims
) -> None:
    images = add_images(database, 2)
    ended, _ = open_run(claims, images[:1])
    with claims.leased(ended):
        pass
    died, _ = open_run(claims, images[1:])
    with pytest.raises(SystemExit), claims.leased(died):
        raise SystemExit
    with database.read() as session:
        assert session.get_one(Run, ended).state is RunState.OVER
        assert session.get_one(Run, died).state is RunState.RUNNING


def test_a_result_that_is_stored_twice_is_not_lost(database: Database, claims: Claims) -> None:
    """When the answer to the first commit is lost, the task tries again, and must not remove its own picture."""
    [image] = add_images(database, 1, callback_url="http://127.0.0.1/x")
    _, [job] = open_run(claims, [image])
    job = job.with_changes(faces=[FACE], detector="test 1")
    claims.store_faces([job])
    for _ in range(2):
        completion = claims.complete([job])
        assert (completion.lost, completion.replaced) == (set(), [])
    with database.read() as session:
        assert session.scalars(select(Delivery)).one().epoch == job.epoch
    assert len(faces_of(database, image)) == 1


def test_a_lost_claim_leaves_its_neighbours_alone(database: Database, claims: Claims) -> None:
    images = add_images(database, 3)
    run_id, jobs = open_run(claims, images)
    open_run(claims, images[1:2], run_id)
    jobs = [job.with_changes(faces=[FACE], detector="test 1") for job in jobs]
    assert claims.store_faces(jobs) == claims.complete(jobs).lost == {images[1].id}
    assert [reload(database, image).status for image in images] == [
        ImageStatus.COMPLETED,
        ImageStatus.PROCESSING,
        ImageStatus.COMPLETED,
    ]
    assert [len(faces_of(database, image)) for image in images] == [1, 0, 1]
