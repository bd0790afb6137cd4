"""The dispatcher: takes waiting images in batches, one Prefect flow run each, and looks after the runs in flight.

Waiting images wait in the database, durable and counted. At most `max_runs` runs are in flight; a free slot takes at
once what is waiting, one image when the system is idle and up to `max_batch` when it is busy. Any number of dispatchers
may work at once. No network I/O happens inside a transaction: a batch is committed first, then its flow run is created
under the batch's id as idempotency key, so that another attempt at creating it finds the same one.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate
from threading import Event, Thread
from uuid import UUID, uuid4

from prometheus_client import Histogram
from sqlalchemy import select
from sqlalchemy.orm import Session

from facet.errors import Unavailable
from facet.flow_runs import BLAMELESS, NEVER_BEGUN, FlowRuns, FlowRunStatus, is_over
from facet.jobs import CANCELLED, CRASHED
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Image, ImageStatus, Lane, Run, RunState
from facet.settings import Settings
from facet.work.claims import Claims

log = logging.getLogger(__name__)

_IN_FLIGHT = (RunState.RESERVED, RunState.RUNNING)
_CREATION_GRACE = timedelta(seconds=5)
_RELEASE_DELAY = timedelta(seconds=5)
_WATCH_SECONDS = 3.0
_BATCH_PIXELS = 200_000_000  # half a minute's work: a run of huge photos is no longer than one of many small ones
_PAUSE = 0.1  # of a burst's images the first goes at once, and the others share the next pass

_BATCH_SIZES = Histogram(
    "facet_batch_images",
    "Images of the batches that this process made.",
    ["lane"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
_WAITING = select(Image).where(
    Image.status == ImageStatus.QUEUED,
    Image.run_id.is_(None),
    Image.deleted_at.is_(None),
    Image.available_at <= utcnow(),
)


class Dispatcher:
    """One pass of the work is `dispatch`; `start` runs it on a timer and at each `wake`, in a thread."""

    def __init__(self, database: Database, claims: Claims, flow_runs: FlowRuns, settings: Settings) -> None:
        self._database = database
        self._claims = claims
        self._flow_runs = flow_runs
        self._settings = settings
        self._woken = Event()
        self._stopped = Event()
        self._thread: Thread | None = None
        self._watch_due = 0.0
        self._patient_until = 0.0

    # ---- the timer

    def start(self) -> None:
        self._thread = Thread(target=self._loop, name="dispatcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()
        if self._thread:
            self._thread.join(timeout=10)

    def wake(self) -> None:
        """Look at the queue now rather than at the timer's next tick."""
        self._woken.set()

    def _loop(self) -> None:
        said: str | None = None
        while not self._stopped.is_set():
            try:
                self.dispatch()
                if said:
                    log.info("Dispatching again.")
                said = None
            except Unavailable as error:
                if str(error) != said:
                    log.warning("Images wait in the queue, nothing is lost: %s", error)
                said = str(error)
            except Exception:
                log.exception("A dispatch pass failed; the next one follows.")
            self._stopped.wait(_PAUSE)
            self._woken.wait(self._settings.dispatch_seconds)
            self._woken.clear()

    # ---- one pass

    def dispatch(self) -> int:
        """Look after the runs in flight, then fill the free slots. Returns the number of flow runs created."""
        self.expire_leases()
        if time.monotonic() >= self._watch_due:
            self._watch_due = time.monotonic() + _WATCH_SECONDS
            self.watch()
        self.create_missing()
        created = 0
        while run_id := self.reserve():
            self._create(run_id)
            created += 1
        return created

    def reserve(self) -> UUID | None:
        """Set a batch of waiting images aside for a new run, if a slot is free and anything waits."""
        with self._database.read() as session:  # a cheap look, so that dispatchers with nothing to do lock nothing
            if self._free_lane(session) is None:
                return None
        with self._database.write() as session:
            self._database.lock_dispatch(session)
            lane = self._free_lane(session)
            if lane is None:
                return None
            most = self._settings.max_bulk_batch if lane is Lane.BULK else self._settings.max_batch
            images = session.scalars(
                _WAITING.where(Image.lane == lane)
                .order_by(Image.created_at, Image.id)
                .limit(most)
                .with_for_update(skip_locked=True)
            ).all()
            if not images:
                return None
            if images[0].isolated:
                batch = list(images[:1])
            else:  # a slow server of an image_url delays none whose picture is here
                batch = _bounded([i for i in images if not i.isolated and i.is_stored is images[0].is_stored])
            run = Run(id=uuid4(), lane=lane, size=len(batch), created_at=self._database.now(session))
            session.add(run)
            session.flush()
            for image in batch:
                image.run_id = run.id
        _BATCH_SIZES.labels(run.lane).observe(run.size)
        return run.id

    def _free_lane(self, session: Session) -> Lane | None:
        """The lane whose turn it is, if images wait in one and a run may be added to those in flight."""
        turns = self._turns(session)
        if not turns:
            return None
        in_flight = Counter(session.scalars(select(Run.lane).where(Run.state.in_(_IN_FLIGHT))))
        for lane in turns:
            # One more for interactive work, so that it waits for no bulk run's end: the bulk runs yield to it.
            more = lane is Lane.INTERACTIVE and in_flight[Lane.BULK] > 0
            if in_flight.total() < self._settings.max_runs + more:
                return lane
        return None

    def _turns(self, session: Session) -> list[Lane]:
        """The lanes in which images wait. Interactive goes first, but of `bulk_every` runs in a row one is bulk's."""
        waits = [lane for lane in Lane if session.scalar(_WAITING.where(Image.lane == lane).limit(1))]
        if len(waits) < 2:
            return waits
        latest = session.scalars(
            select(Run.lane).order_by(Run.created_at.desc(), Run.id).limit(self._settings.bulk_every - 1)
        ).all()
        if Lane.BULK in latest or len(latest) < self._settings.bulk_every - 1:
            return [Lane.INTERACTIVE, Lane.BULK]
        return [Lane.BULK, Lane.INTERACTIVE]

    def create_missing(self) -> None:
        """Create the flow runs of batches whose dispatcher died, or found Prefect down, before it could."""
        with self._database.read() as session:
            before = self._database.now(session) - _CREATION_GRACE
            missing = session.scalars(
                select(Run.id).where(Run.state == RunState.RESERVED, Run.flow_run_id.is_(None), Run.created_at < before)
            ).all()
        for run_id in missing:
            self._create(run_id)

    def _create(self, run_id: UUID) -> None:
        with self._database.read() as session:
            run = session.get_one(Run, run_id)
            images = session.scalars(
                select(Image).where(Image.run_id == run_id).order_by(Image.created_at, Image.id)
            ).all()
            queue = self._queue(session, run)
        if not images:  # all were deleted meanwhile
            self._claims.close(run_id)
            return
        created = self._flow_runs.create(run_id, images, run.lane, queue)
        with self._database.write() as session:
            run = session.get_one(Run, run_id, with_for_update=True)
            run.flow_run_id, run.flow_run_name = created.flow_run_id, created.name
        log.info("Flow run %s (%s) takes %d image(s).", created.name, created.flow_run_id, len(images))

    @staticmethod
    def _queue(session: Session, run: Run) -> Lane:
        """The Prefect work queue of a run: its lane's.

        A bulk run that has its turn while interactive work waits goes by the interactive queue: in its own, of lower
        priority, its turn would never come while interactive runs keep coming.
        """
        interactive = _WAITING.where(Image.lane == Lane.INTERACTIVE).limit(1)
        return Lane.INTERACTIVE if session.scalar(interactive) else run.lane

    # ---- the runs in flight

    def expire_leases(self) -> None:
        """End the runs whose process has stopped renewing their lease.

        Where nothing could be written, no run could renew: each is given the time of a lease for it.
        """
        if time.monotonic() < self._patient_until:
            return
        try:
            expired = self._free_lapsed()
        except Unavailable:
            self._patient_until = time.monotonic() + self._settings.lease_seconds
            raise
        for run in expired:
            if run.flow_run_id:
                self._flow_runs.crash(run.flow_run_id, "The run's process has stopped renewing its lease.")

    def _free_lapsed(self) -> Sequence[Run]:
        lapsed = select(Run).where(Run.state == RunState.RUNNING, Run.lease_until < utcnow())
        with self._database.read() as session:  # as in `reserve`
            if session.scalar(lapsed.limit(1)) is None:
                return []
        with self._database.write() as session:
            expired = session.scalars(lapsed.with_for_update(skip_locked=True)).all()
            for run in expired:
                log.warning("The lease of flow run %s ended; its images go back to the queue.", run.flow_run_id)
                self._free(session, run, FlowRunStatus.CRASHED)
        return expired

    def watch(self) -> None:
        """Ask Prefect about the runs in flight, and free the slots of those that are over."""
        with self._database.read() as session:
            before = self._database.now(session) - _CREATION_GRACE
            flow_run_ids = session.scalars(
                select(Run.flow_run_id).where(
                    Run.state.in_(_IN_FLIGHT), Run.flow_run_id.is_not(None), Run.created_at < before
                )
            ).all()
        if not flow_run_ids:
            return
        statuses = self._flow_runs.statuses([i for i in flow_run_ids if i])
        for flow_run_id, run_status in statuses.items():
            if run_status is FlowRunStatus.UNDERWAY:
                continue
            with self._database.write() as session:
                run = session.scalars(
                    select(Run).where(Run.flow_run_id == flow_run_id, Run.state.in_(_IN_FLIGHT)).with_for_update()
                ).one_or_none()
                if run and is_over(run_status, run.state):
                    log.warning("Flow run %s is %s; what it left goes on without it.", flow_run_id, run_status)
                    self._free(session, run, run_status)
            if run_status in NEVER_BEGUN and run and run.state is RunState.OVER:
                self._flow_runs.crash(flow_run_id, NEVER_BEGUN[run_status])

    def _free(self, session: Session, run: Run, run_status: FlowRunStatus) -> None:
        """Free a run's slot, and let its unfinished images go the way that its status asks for."""
        started = run.state is RunState.RUNNING
        in_progress = set(run.in_progress)
        run.state, run.finished_at, run.in_progress = RunState.OVER, self._database.now(session), []
        for image in self._unfinished(session, run):
            if run_status is FlowRunStatus.CANCELLED:
                image.claim_epoch += 1
                self._claims.end(session, image, ImageStatus.CANCELLED, CANCELLED)
            elif started and run_status not in BLAMELESS and (not in_progress or str(image.id) in in_progress):
                self._claims.charge(session, image, CRASHED, isolated=True)
            else:
                image.requeue()
                image.available_at = self._database.now(session) + (timedelta() if started else _RELEASE_DELAY)

    @staticmethod
    def _unfinished(session: Session, run: Run) -> Sequence[Image]:
        return session.scalars(
            select(Image)
            .where(
                Image.run_id == run.id,
                Image.status.in_((ImageStatus.QUEUED, ImageStatus.PROCESSING)),
                Image.deleted_at.is_(None),
            )
            .order_by(Image.id)
            .with_for_update()
        ).all()


def _bounded(images: Sequence[Image]) -> list[Image]:
    """The first of these images, few enough for one run's time; always at least one."""
    pixels = accumulate((image.width or 0) * (image.height or 0) for image in images)
    return [image for image, total in zip(images, pixels, strict=True) if total <= _BATCH_PIXELS] or list(images[:1])
