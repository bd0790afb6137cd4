"""What a run may do to its images: claim them, hold them by a lease, and end them.

Every write names the epoch of its claim, so that a zombie or an old run that someone retried changes nothing.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread
from uuid import UUID

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from facet.access.signed_links import Links
from facet.annotations import Annotation
from facet.callbacks.outbox import callback_body, enqueue_deliveries
from facet.errors import Unavailable
from facet.jobs import Failure, FoundFace, ImageJob, Jobs
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Face, Image, ImageStatus, Lane, Run, RunState
from facet.pictures.codec import Header
from facet.reprocessing import reprocessed_images
from facet.settings import Settings

log = logging.getLogger(__name__)

_LONGEST_WAIT = timedelta(minutes=5)
_RENEW_AGAIN = 2.0
_UNFINISHED = (ImageStatus.QUEUED, ImageStatus.PROCESSING)


class LostClaim(Exception):
    """The image was taken over by another claim, or deleted."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of a batch: the images of which the claim was lost, and the pictures that nobody reads any more."""

    lost: set[UUID]
    replaced: list[str]


def _asked_at(image: Image) -> datetime:
    """Since when the image's result is waited for."""
    return image.available_at if image.reprocessing_id else image.created_at


class Claims:
    """The images of runs in the database. Every method raises Unavailable when that does not answer."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._links = Links(settings)

    def open(self, image_ids: Sequence[UUID], *, run_id: UUID, flow_run_id: UUID, flow_run_name: str) -> Jobs:
        """Start (or start again) a run and claim what is its to do among `image_ids`.

        Completed images are done, and ones that another run holds are its own; failed and cancelled ones are opened
        again, since whoever retries a run asks for that. A flow run of unknown `run_id` (started by hand) is recorded.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            run = session.get(Run, run_id, with_for_update=True)
            if run is None:
                run = Run(id=run_id, created_at=now)
                session.add(run)
            run.flow_run_id, run.flow_run_name = flow_run_id, flow_run_name
            run.state, run.finished_at, run.in_progress = RunState.RUNNING, None, []
            run.started_at = now
            run.lease_until = now + timedelta(seconds=self._settings.lease_seconds)
            run.deadline = now + timedelta(seconds=self._settings.run_seconds)
            session.flush()
            images = session.scalars(
                select(Image)
                .where(Image.id.in_(image_ids), Image.deleted_at.is_(None))
                .order_by(Image.id)  # one order of locking for all
                .with_for_update()
            ).all()
            claimed = {image.id: self._claim(image, run, now) for image in images if self._is_free(image, run)}
            run.size = len(claimed)
        return Jobs(claimed[image_id] for image_id in image_ids if image_id in claimed)

    @staticmethod
    def _is_free(image: Image, run: Run) -> bool:
        if image.status is ImageStatus.COMPLETED:
            return False
        if image.status in _UNFINISHED:
            holder = image.run
            return holder is None or holder is run or holder.state is RunState.OVER
        return True

    @staticmethod
    def _claim(image: Image, run: Run, now: datetime) -> ImageJob:
        if image.status not in _UNFINISHED:
            image.attempts = image.outages = 0
        image.status = ImageStatus.PROCESSING
        image.claim_epoch += 1
        image.run_id, image.started_at, image.finished_at = run.id, now, None
        image.failure_code = image.failure_reason = None
        return ImageJob(
            image_id=image.id,
            epoch=image.claim_epoch,
            request_id=image.request_id,
            original_key=image.original_key if image.is_stored else image.fetched_key(image.claim_epoch),
            image_url=None if image.is_stored else image.image_url,
            annotated_key=f"{image.prefix}annotated-{image.claim_epoch}.jpg",
            callback_url=image.callback_url,
            min_confidence=image.min_confidence,
            min_face_size=image.min_face_size,
            annotation=image.annotation,
            width=image.width or 0,
            height=image.height or 0,
            timings={"waited": round((now - _asked_at(image)).total_seconds(), 3)},
        )

    @contextmanager
    def leased(self, run_id: UUID) -> Iterator[None]:
        """Renew the run's lease from a thread until the block ends; close the run if it ends by itself.

        A run that ends in another way (cancelled, suspended, crashed) is left to the dispatcher, which asks Prefect.
        """
        over = Event()

        def renew() -> None:
            pause = usual = self._settings.lease_seconds / 3
            while not over.wait(pause):
                try:
                    self.renew(run_id)
                    pause = usual
                except Unavailable as error:
                    log.warning("The lease of run %s is not renewed: %s", run_id, error)
                    pause = min(usual, _RENEW_AGAIN)

        keeper = Thread(target=renew, name="lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
        self.close(run_id)

    def renew(self, run_id: UUID) -> None:
        """Put the end of the lease off, up to the run's deadline, after which a hung run lapses."""
        with self._database.write() as session:
            now = self._database.now(session)
            until = now + timedelta(seconds=self._settings.lease_seconds)
            session.execute(
                update(Run)
                .where(Run.id == run_id, Run.state == RunState.RUNNING, Run.deadline > now)
                .values(lease_until=until)
            )

    def mark_in_progress(self, run_id: UUID, jobs: Sequence[ImageJob]) -> None:
        """Note what is worked on from here, for it is to blame if the process dies."""
        with self._database.write() as session:
            session.execute(update(Run).where(Run.id == run_id).values(in_progress=[str(job.image_id) for job in jobs]))

    def store_original(self, job: ImageJob, header: Header, size_bytes: int, sha256: str) -> None:
        """Make what this claim has fetched the image's original. Raises LostClaim."""
        with self._database.write() as session:
            image = self._owned(session, [job]).get(job.image_id)
            if image is None:
                raise LostClaim(job.image_id)
            image.fetched_epoch = job.epoch
            image.media_type, image.width, image.height = header.media_type, header.width, header.height
            image.size_bytes, image.sha256 = size_bytes, sha256

    def store_faces(self, jobs: Sequence[ImageJob]) -> set[UUID]:
        """Replace the faces of these claims, in one transaction; the former results stay the ones that are read.

        Returns the images of which the claim is lost; nothing of theirs is written.
        """
        with self._database.write() as session:
            owned = self._owned(session, jobs)
            session.execute(delete(Face).where(tuple_(Face.image_id, Face.epoch).in_(_claims(owned))))
            rows = [
                {
                    "image_id": job.image_id,
                    "epoch": job.epoch,
                    "position": position,
                    "confidence": face.confidence,
                    "x": face.box[0],
                    "y": face.box[1],
                    "width": face.box[2],
                    "height": face.box[3],
                    "keypoints": face.keypoints,
                    "detector": job.detector,
                }
                for job in jobs
                if job.image_id in owned
                for position, face in enumerate(job.faces)
            ]
            if rows:
                session.execute(insert(Face), rows)
        return {job.image_id for job in jobs} - owned.keys()

    def complete(self, jobs: Sequence[ImageJob]) -> Completion:
        """Make the results of these claims the images', and write their senders' deliveries, in one transaction."""
        replaced, bodies = [], []
        with self._database.write() as session:
            now = self._database.now(session)
            owned = self._owned(session, jobs)
            session.execute(
                delete(Face).where(Face.image_id.in_(owned), tuple_(Face.image_id, Face.epoch).not_in(_claims(owned)))
            )
            _loaded = reprocessed_images.load(session, owned.values())
            for job in jobs:
                if (image := owned.get(job.image_id)) is None:
                    continue
                if image.annotated_key not in (None, job.annotated_key):
                    replaced.append(image.annotated_key)
                image.status, image.result_epoch, image.finished_at = ImageStatus.COMPLETED, job.epoch, now
                image.annotated_key = None if job.annotation is Annotation.NONE else job.annotated_key
                image.detector = job.detector
                image.timings = job.timings | {"total": round((now - _asked_at(image)).total_seconds(), 3)}
                if reprocessed_images.complete(session, image, len(job.faces), now):
                    bodies.append((image, self._body(image, job.faces)))
            enqueue_deliveries(session, bodies, now)
            lost = {job.image_id for job in jobs} - owned.keys()
            lost -= self._done(session, [job for job in jobs if job.image_id in lost])
        return Completion(lost, [key for key in replaced if key])

    def fail(self, job: ImageJob, failure: Failure) -> None:
        """End the image without a result, and write its sender's delivery. Raises LostClaim."""
        with self._database.write() as session:
            self.end(session, self._own(session, job), ImageStatus.FAILED, failure)

    def fail_waiting(self, image_id: UUID, failure: Failure) -> bool:
        """End an image that no run has, and write its sender's delivery. Returns whether it still waited."""
        with self._database.write() as session:
            image = session.scalars(
                select(Image)
                .where(
                    Image.id == image_id,
                    Image.status == ImageStatus.QUEUED,
                    Image.run_id.is_(None),
                    Image.deleted_at.is_(None),
                )
                .with_for_update()
            ).one_or_none()
            if image:
                image.claim_epoch += 1
                self.end(session, image, ImageStatus.FAILED, failure)
            return image is not None

    def retry_later(self, job: ImageJob, failure: Failure) -> bool:
        """Put the image back in the queue for later, or fail it after too many attempts. Raises LostClaim.

        An outage of a part of the service, for which no image is to blame, is waited out for about a day.
        Returns whether it will be tried again.
        """
        with self._database.write() as session:
            image = self._own(session, job)
            if failure.code != Unavailable.code:
                return self.charge(session, image, failure)
            image.outages += 1
            return self._later(session, image, failure, image.outages, self._settings.max_outages)

    def retry_all_later(self, jobs: Sequence[ImageJob], outage: Failure) -> None:
        """Put those of the images back in the queue that are not ended and still claimed."""
        for job in jobs:
            with suppress(LostClaim):
                self.retry_later(job, outage)

    def must_yield(self, run_id: UUID) -> bool:
        """Whether this is a bulk run, and interactive work waits for its slot: the oldest bulk runs yield first."""
        with self._database.read() as session:
            run = session.scalar(select(Run).where(Run.id == run_id, Run.lane == Lane.BULK))
            if run is None:
                return False
            interactive = select(func.count()).select_from(Run).where(Run.lane == Lane.INTERACTIVE)
            waiting = session.scalar(interactive.where(Run.state == RunState.RESERVED)) or 0
            unreserved = (
                Image.status == ImageStatus.QUEUED,
                Image.lane == Lane.INTERACTIVE,
                Image.run_id.is_(None),
                Image.deleted_at.is_(None),
                Image.available_at <= utcnow(),
            )
            waiting += session.scalar(select(Image.id).where(*unreserved).limit(1)) is not None
            older = (Run.lane == Lane.BULK, Run.state == RunState.RUNNING, Run.started_at < run.started_at)
            return waiting > (session.scalar(select(func.count()).select_from(Run).where(*older)) or 0)

    def release(self, job: ImageJob) -> None:
        """Put the image back in the queue, uncharged. Raises LostClaim."""
        with self._database.write() as session:
            self._own(session, job).requeue()

    def charge(self, session: Session, image: Image, failure: Failure, *, isolated: bool = False) -> bool:
        """Charge the image an attempt: back to the queue, or failed when that was its last."""
        image.attempts += 1
        image.isolated = isolated
        return self._later(session, image, failure, image.attempts, self._settings.max_attempts)

    def _later(self, session: Session, image: Image, failure: Failure, tries: int, most: int) -> bool:
        if tries >= most:
            reason = f"Given up after {tries} attempts. {failure.reason}"
            self.end(session, image, ImageStatus.FAILED, Failure(code=failure.code, reason=reason))
            return False
        image.requeue()
        image.available_at = self._database.now(session) + min(
            _LONGEST_WAIT, timedelta(seconds=5 * 4 ** min(tries - 1, 9))
        )
        return True

    def end(self, session: Session, image: Image, status: ImageStatus, failure: Failure) -> None:
        """Fail or cancel the image in the caller's transaction, and write its sender's delivery.

        One that was being reprocessed keeps the result that it has.
        """
        now = self._database.now(session)
        image.status, image.finished_at = status, now
        image.failure_code, image.failure_reason = failure.code, failure.reason
        if reprocessed_images.fail(session, image, status, failure, now):
            enqueue_deliveries(session, [(image, callback_body(image, [], None))], now)

    def hand_back(self, run_id: UUID) -> None:
        """The run's process was asked to end: as before its start, the run waits to be taken up, and nobody is charged.

        What becomes of it, Prefect knows, and the dispatcher asks there.
        """
        with self._database.write() as session:
            session.execute(
                update(Run)
                .where(Run.id == run_id, Run.state == RunState.RUNNING)
                .values(state=RunState.RESERVED, lease_until=None, in_progress=[])
            )

    def close(self, run_id: UUID) -> None:
        """The run has ended by itself, with each of its images ended or put back: its slot is free."""
        with self._database.write() as session:
            now = self._database.now(session)
            session.execute(
                update(Run).where(Run.id == run_id).values(state=RunState.OVER, finished_at=now, in_progress=[])
            )

    @staticmethod
    def _owned(session: Session, jobs: Iterable[ImageJob]) -> dict[UUID, Image]:
        """Lock the images whose claims still hold."""
        epochs = {job.image_id: job.epoch for job in jobs}
        images = session.scalars(
            select(Image)
            .where(
                Image.id.in_(epochs),
                Image.status == ImageStatus.PROCESSING,
                Image.deleted_at.is_(None),
            )
            .order_by(Image.id)  # one order of locking for all
            .with_for_update()
        )
        return {image.id: image for image in images if image.claim_epoch == epochs[image.id]}

    @staticmethod
    def _done(session: Session, jobs: Iterable[ImageJob]) -> set[UUID]:
        """Images of which these claims' results are the ones that are read: stored before, when the answer was lost."""
        epochs = {job.image_id: job.epoch for job in jobs}
        results = session.execute(
            select(Image.id, Image.result_epoch).where(Image.id.in_(epochs), Image.deleted_at.is_(None))
        )
        return {image_id for image_id, epoch in results if epoch == epochs[image_id]}

    def _own(self, session: Session, job: ImageJob) -> Image:
        try:
            return self._owned(session, [job])[job.image_id]
        except KeyError:
            raise LostClaim(job.image_id) from None

    def _body(self, image: Image, faces: Sequence[FoundFace]) -> str:
        output_url = self._links.annotated(image.id) if image.annotated_key else None
        return callback_body(image, faces, output_url)


def _claims(images: Mapping[UUID, Image]) -> list[tuple[UUID, int]]:
    return [(image.id, image.claim_epoch) for image in images.values()]
