from datetime import timedelta
from uuid import uuid4

from facet.annotations import Annotation
from facet.intake.activity import STEP_SECONDS, STEPS, activity
from facet.persistence.database import Database
from facet.persistence.models import Image, ImageStatus
from facet.principals import EVERYONE, KeyScope, Principal


def add(
    database: Database, status: ImageStatus, arrived: float, finished: float | None = None, owner: str = "a"
) -> None:
    """An image that arrived and finished so many steps ago."""
    with database.write() as session:
        now = database.now(session)
        session.add(
            Image(
                id=uuid4(),
                owner=owner,
                request_id="r",
                status=status,
                created_at=now - timedelta(seconds=arrived * STEP_SECONDS),
                finished_at=None if finished is None else now - timedelta(seconds=finished * STEP_SECONDS),
                min_confidence=0.9,
                min_face_size=20,
                annotation=Annotation.NONE,
            )
        )


def test_what_waits_and_what_finished_lately_is_counted(database: Database) -> None:
    add(database, ImageStatus.COMPLETED, arrived=100, finished=90)  # before the time that is told of
    add(database, ImageStatus.COMPLETED, arrived=100, finished=20.5)
    add(database, ImageStatus.FAILED, arrived=10.5, finished=5.5)
    add(database, ImageStatus.PROCESSING, arrived=3.5)
    add(database, ImageStatus.QUEUED, arrived=2.5)
    seen = activity(database, EVERYONE)
    assert (seen.queued, seen.processing) == (1, 1)
    assert (len(seen.finished), len(seen.unfinished)) == (STEPS, STEPS)
    ago = {step: count for step, count in enumerate(reversed(seen.finished)) if count}
    assert ago == {5: 1, 20: 1}
    unfinished = list(reversed(seen.unfinished))
    assert unfinished[:4] == [2, 2, 2, 1] and unfinished[4] == unfinished[5] == 0
    assert unfinished[6:11] == [1] * 5 and unfinished[11:20] == [0] * 9
    assert unfinished[-1] == 1, "the one that waited all the while"


def test_a_sender_sees_its_own_alone(database: Database) -> None:
    add(database, ImageStatus.QUEUED, arrived=1.5)
    add(database, ImageStatus.COMPLETED, arrived=2.5, finished=1.5, owner="b")
    seen = activity(database, Principal("k", "b", KeyScope.READ))
    assert (seen.queued, sum(seen.finished)) == (0, 1)
    assert sum(seen.unfinished) == 1
