"""Sending callbacks, at least once: each attempt at a delivery, and when the next one is due.

A delivery is claimed before it is sent: in one transaction its attempt is written, its next one is scheduled as if this
one failed, and a lease keeps other senders away. So two senders never send the same attempt, and one that dies costs
its attempt and nothing more. Nothing is sent inside a transaction.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from uuid import UUID

from sqlalchemy import ColumnElement, and_, or_, select, true, update
from sqlalchemy.orm import Session, lazyload

from facet.callbacks.outbox import RUN_GRACE
from facet.callbacks.retries import SCHEDULE, asked_wait, spread, wait_after
from facet.outbound.addresses import UrlRefused
from facet.outbound.egress import Answer, Egress, NotAnswered
from facet.persistence.cursors import Cursor
from facet.persistence.database import Database, utcnow
from facet.persistence.models import Delivery, DeliveryAttempt, DeliveryState, Image
from facet.principals import Principal
from facet.settings import Settings
from facet.signing import Signer

log = logging.getLogger(__name__)

_QUICK_SECONDS = 2.0
_ANSWER_KEPT = 2048
_SENDERS = 8
_SENDERS_PER_RECEIVER = 2
_CLAIMED_AT_ONCE = 2 * _SENDERS
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt: `error` is None when the receiver took it; `retry_soon`: it is worth a quick retry."""

    error: str | None
    retry_soon: bool = False
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    deliveries: Sequence[Delivery]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A claimed delivery, and the number of the attempt to be made."""

    id: UUID
    url: str
    origin: str
    body: str
    number: int
    at: datetime


@dataclass(frozen=True, slots=True)
class _Sent:
    """What came of an attempt, not yet recorded; `refused`: it was not sent, for its URL is not allowed."""

    claimed: _Claimed
    seconds: float
    answer: Answer | None
    error: str | None
    refused: bool


_FREE = or_(Delivery.lease_until.is_(None), Delivery.lease_until <= utcnow())
_DUE = and_(Delivery.state == DeliveryState.PENDING, Delivery.due_at <= utcnow(), _FREE)


def _seen_by(who: Principal) -> ColumnElement[bool]:
    return true() if who.sees_all else Delivery.image.has(who.sees(Image.owner))


class Deliveries:
    """The deliveries of callbacks, and the attempts at them."""

    def __init__(self, database: Database, egress: Egress, settings: Settings) -> None:
        self._database = database
        self._egress = egress
        self._signer = Signer(settings.webhook_secrets)
        self._lease = timedelta(seconds=2 * settings.callback_timeout + 10)

    # ---- what is to be sent

    def undelivered(self, image_ids: Sequence[UUID], *, retry_soon: bool = False) -> list[UUID]:
        """The deliveries of the images' latest claims that no receiver has taken, given up or not; oldest first.

        `retry_soon`: only those that are between quick retries.
        """
        query = (
            select(Delivery.id)
            .join(Image, and_(Image.id == Delivery.image_id, Image.claim_epoch == Delivery.epoch))
            .where(Delivery.image_id.in_(image_ids), Delivery.state != DeliveryState.DELIVERED)
            .order_by(Delivery.created_at, Delivery.id)
        )
        if retry_soon:
            query = query.where(Delivery.state == DeliveryState.PENDING, Delivery.failures == 0)
        with self._database.read() as session:
            return list(session.scalars(query))

    def is_due(self) -> bool:
        """Whether a delivery waits for `deliver_due`."""
        with self._database.read() as session:
            return session.scalar(select(Delivery.id).where(_DUE).limit(1)) is not None

    def find(self, delivery_id: UUID, who: Principal) -> Delivery | None:
        """The delivery; None for one that is not there, or not theirs to see."""
        with self._database.read() as session:
            return session.scalars(select(Delivery).where(Delivery.id == delivery_id, _seen_by(who))).one_or_none()

    def page(
        self, who: Principal, *, state: DeliveryState | None, image_id: UUID | None, cursor: str | None, limit: int
    ) -> DeliveryPage:
        """The deliveries that they may see, newest first. Raises BadCursor."""
        query = select(Delivery).where(_seen_by(who))
        query = query.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit + 1)
        if state:
            query = query.where(Delivery.state == state)
        if image_id:
            query = query.where(Delivery.image_id == image_id)
        if cursor:
            query = query.where(Cursor.read(cursor).is_before(Delivery.created_at, Delivery.id))
        with self._database.read() as session:
            found = session.scalars(query).all()
        last = found[limit - 1] if len(found) > limit else None
        return DeliveryPage(found[:limit], str(Cursor(last.created_at, last.id)) if last else None)

    def redeliver(self, delivery_id: UUID, who: Principal) -> Delivery | None:
        """Deliver it again, under the same id and with the same body, from the beginning of the schedule, now."""
        with self._database.write() as session:
            wanted = select(Delivery).where(Delivery.id == delivery_id, _seen_by(who))
            delivery = session.scalars(wanted.with_for_update(of=Delivery)).one_or_none()
            if delivery is None:
                return None
            delivery.state, delivery.reason, delivery.finished_at = DeliveryState.PENDING, None, None
            delivery.failures, delivery.due_at = 0, self._database.now(session)
        return self.find(delivery_id, who)

    # ---- sending

    def attempt(self, delivery_id: UUID, *, quick: bool = False) -> Outcome | None:
        """Send a delivery now, due or given up as it may be, in a new round of the schedule.

        With `quick` the caller means to try again in a moment, so that a failure uses up none of the schedule.
        None when there is nothing to send: it is taken, gone, or in another sender's hands.
        """
        return self.attempt_all([delivery_id], quick=quick).get(delivery_id)

    def attempt_all(self, delivery_ids: Sequence[UUID], *, quick: bool = False) -> dict[UUID, Outcome]:
        """`attempt` each, several at a time, so that one slow receiver takes little of the caller's time."""
        outcomes: dict[UUID, Outcome] = {}
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="callback") as pool:
            for start in range(0, len(delivery_ids), _CLAIMED_AT_ONCE):
                some = delivery_ids[start : start + _CLAIMED_AT_ONCE]
                wanted = and_(Delivery.id.in_(some), Delivery.state != DeliveryState.DELIVERED, _FREE)
                claimed = self._claim(wanted, limit=len(some), new_round=True)
                outcomes |= self._record(list(pool.map(self._send, claimed)), quick=quick)
        return outcomes

    def deliver_due(self, seconds: float) -> list[Outcome]:
        """Send what is due until nothing is or the time is over; a slow receiver takes a part of the senders only."""
        until = time.monotonic() + seconds
        outcomes: list[Outcome] = []
        in_progress: Counter[str] = Counter()
        lock = Lock()

        def take() -> _Claimed | None:
            with lock:
                crowded = [origin for origin, count in in_progress.items() if count >= _SENDERS_PER_RECEIVER]
                claimed = next(iter(self._claim(and_(_DUE, Delivery.origin.not_in(crowded)))), None)
                if claimed:
                    in_progress[claimed.origin] += 1
                return claimed

        def work() -> None:
            while time.monotonic() < until:
                if claimed := take():
                    try:
                        outcomes.extend(self._record([self._send(claimed)]).values())
                    finally:
                        with lock:
                            in_progress[claimed.origin] -= 1
                elif in_progress.total():
                    time.sleep(_PAUSE)
                else:
                    return

        if not self.is_due():
            return []
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="deliver") as pool:
            for sender in [pool.submit(work) for _ in range(_SENDERS)]:
                sender.result()
        return outcomes

    def _claim(self, wanted: ColumnElement[bool], *, limit: int = 1, new_round: bool = False) -> list[_Claimed]:
        with self._database.write() as session:
            now = self._database.now(session)
            found = session.scalars(
                select(Delivery)
                .where(wanted)
                .order_by(Delivery.due_at)
                .limit(limit)
                .options(lazyload(Delivery.attempts))
                .with_for_update(skip_locked=True)
            ).all()
            return [
                claimed for delivery in found if (claimed := self._take(session, delivery, now, new_round=new_round))
            ]

    def _take(self, session: Session, delivery: Delivery, now: datetime, *, new_round: bool) -> _Claimed | None:
        if delivery.failures > len(SCHEDULE) and not new_round:  # its last sender died
            _end(delivery, DeliveryState.FAILED, "Given up after the last retry, whose sender died.", now)
            return None
        if delivery.last_attempt:
            session.execute(
                update(DeliveryAttempt)
                .where(
                    DeliveryAttempt.delivery_id == delivery.id,
                    DeliveryAttempt.seconds.is_(None),
                    DeliveryAttempt.error.is_(None),
                )
                .values(error="The sending process ended before the answer was recorded.")
            )
        if new_round:
            delivery.state, delivery.reason, delivery.finished_at = DeliveryState.PENDING, None, None
            delivery.failures = 0
        delivery.failures += 1
        delivery.last_attempt += 1
        delivery.lease_until = now + self._lease
        delivery.due_at = now + max(self._lease, wait_after(delivery.failures) or timedelta())
        session.add(DeliveryAttempt(delivery_id=delivery.id, number=delivery.last_attempt, at=now))
        return _Claimed(delivery.id, delivery.url, delivery.origin, delivery.body, delivery.last_attempt, now)

    def _send(self, claimed: _Claimed) -> _Sent:
        begun = time.monotonic()
        answer, error, refused = None, None, False
        try:
            headers = {"Content-Type": "application/json"}
            headers |= self._signer.headers(str(claimed.id), claimed.at, claimed.body)
            content = claimed.body.encode()
            answer = self._egress.request("POST", claimed.url, headers=headers, content=content, max_bytes=_ANSWER_KEPT)
            if not 200 <= answer.status_code < 300:
                error = f"The receiver answered {answer.status_code}."
        except NotAnswered as exception:
            error = str(exception)
        except UrlRefused as exception:
            error, refused = f"Not sent: {exception} {exception.fix}", True
        if error is None:
            log.info("Delivery %s: taken at attempt %d.", claimed.id, claimed.number)
        else:
            log.warning("Delivery %s, attempt %d: %s", claimed.id, claimed.number, error)
        return _Sent(claimed, round(time.monotonic() - begun, 3), answer, error, refused)

    def _record(self, sent: Sequence[_Sent], *, quick: bool = False) -> dict[UUID, Outcome]:
        if not sent:
            return {}
        with self._database.write() as session:
            now = self._database.now(session)
            in_lock_order = sorted(sent, key=lambda each: each.claimed.id)
            return {each.claimed.id: self._record_one(session, each, now, quick=quick) for each in in_lock_order}

    def _record_one(self, session: Session, sent: _Sent, now: datetime, *, quick: bool) -> Outcome:
        claimed, error = sent.claimed, sent.error
        delivery = session.get(Delivery, claimed.id, with_for_update=True, options=[lazyload(Delivery.attempts)])
        attempt = session.get(DeliveryAttempt, (claimed.id, claimed.number))
        if delivery is None or attempt is None:  # deleted with its image
            return Outcome(error)
        attempt.seconds, attempt.error = sent.seconds, error
        if sent.answer:
            attempt.status_code = sent.answer.status_code
            attempt.answer = sent.answer.body.decode("utf-8", "replace").replace("\x00", "\ufffd")
        if delivery.last_attempt == claimed.number:
            delivery.lease_until = None
        if error is None:
            _end(delivery, DeliveryState.DELIVERED, None, now)
            return Outcome(None)
        if delivery.last_attempt != claimed.number or delivery.state is not DeliveryState.PENDING:
            return Outcome(error)  # this sender's lease had ended, or a newer result takes its place
        quick = quick and sent.seconds < _QUICK_SECONDS and not sent.refused
        return self._reschedule(delivery, sent.answer, error, now, quick=quick)

    @staticmethod
    def _reschedule(delivery: Delivery, answer: Answer | None, error: str, now: datetime, *, quick: bool) -> Outcome:
        asked = asked_wait(answer.headers, now) if answer else timedelta()
        if answer and answer.status_code == 410:
            _end(delivery, DeliveryState.FAILED, "The receiver answered 410 Gone: it wants no more of it.", now)
            return Outcome(error, given_up=True)
        if quick and asked <= timedelta(seconds=_QUICK_SECONDS):
            delivery.failures = 0
            delivery.due_at = now + RUN_GRACE
            return Outcome(error, retry_soon=True)
        delivery.failures = max(delivery.failures, 1)  # 0 when a redelivery was asked for meanwhile
        wait = wait_after(delivery.failures)
        if wait is None:
            _end(delivery, DeliveryState.FAILED, f"Given up after the last retry. {error}", now)
            return Outcome(error, given_up=True)
        delivery.due_at = now + spread(max(wait, asked))
        return Outcome(error)


def _end(delivery: Delivery, state: DeliveryState, reason: str | None, now: datetime) -> None:
    delivery.state, delivery.reason, delivery.finished_at = state, reason, now
