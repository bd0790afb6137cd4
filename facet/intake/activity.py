"""How much work there is and how fast it is done, over the last minutes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from facet.persistence.database import Database
from facet.persistence.models import Image, ImageStatus
from facet.principals import Principal

STEP_SECONDS = 5
STEPS = 60
_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Activity:
    """Counts of images: those now in the queue and in work, and over the last `STEPS` steps, oldest first, those that
    finished in each and those that were unfinished at its end."""

    queued: int
    processing: int
    finished: Sequence[int]
    unfinished: Sequence[int]


def activity(database: Database, who: Principal) -> Activity:
    """The activity among the images that they may see. Raises Unavailable."""
    with database.read() as session:
        now = database.now(session)
        counts = {
            status: session.scalar(
                select(func.count(Image.id)).where(
                    Image.status == status, Image.deleted_at.is_(None), who.sees(Image.owner)
                )
            )
            or 0
            for status in (ImageStatus.QUEUED, ImageStatus.PROCESSING)
        }
        arrived = _steps(session, Image.created_at, who, now)
        finished = _steps(session, Image.finished_at, who, now)
    left = counts[ImageStatus.QUEUED] + counts[ImageStatus.PROCESSING]
    # Back from now: each step's end had what its next one has, less what arrived in that, and what finished in it.
    changes = [done - new for new, done in zip(arrived[:0:-1], finished[:0:-1], strict=True)]
    unfinished = [max(0, count) for count in accumulate(changes, initial=left)]
    return Activity(counts[ImageStatus.QUEUED], counts[ImageStatus.PROCESSING], finished, unfinished[::-1])


def _steps(
    session: Session,
    moment: InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None],
    who: Principal,
    now: datetime,
) -> list[int]:
    """How many images had the moment in each step, counting those since removed too few."""
    since = now - timedelta(seconds=STEPS * STEP_SECONDS)
    moments = session.scalars(
        select(moment).where(moment > since, moment <= now, who.sees(Image.owner)).order_by(moment.desc()).limit(_MOST)
    )
    steps = Counter(int((now - at).total_seconds() // STEP_SECONDS) for at in moments if at)
    return [steps[step] for step in reversed(range(STEPS))]
