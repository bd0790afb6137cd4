"""Images that a stack has stored and completed, made without submitting them, and a record of new results."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import insert, select, text

from facet.annotations import Annotation
from facet.persistence.database import Database
from facet.persistence.models import Image, ImageStatus, ReprocessedImage, ReprocessedImageState
from facet.pictures.codec import read_header

OLD = "mtcnn of yore"


def store_completed(home: Path, url: str, pictures: list[bytes], *, annotate: bool = False) -> list[UUID]:
    """Images as an older detector left them, with no face, oldest first; returns their ids."""
    database = Database(url)
    headers = {data: read_header(data, max_pixels=10**8) for data in set(pictures)}
    ids = [uuid4() for _ in pictures]
    for image_id, data in zip(ids, pictures, strict=True):
        folder = home / "objects" / "images" / str(image_id)
        folder.mkdir(parents=True)
        (folder / "original").write_bytes(data)
    with database.write() as session:
        begin = database.now(session) - timedelta(hours=1)
        rows = [
            {
                "id": image_id,
                "request_id": f"stored-{number}",
                "status": ImageStatus.COMPLETED,
                "created_at": begin + timedelta(milliseconds=number),
                "available_at": begin,
                "finished_at": begin,
                "media_type": headers[data].media_type,
                "size_bytes": len(data),
                "sha256": "0" * 64,
                "width": headers[data].width,
                "height": headers[data].height,
                "min_confidence": 0.94,
                "min_face_size": 20,
                "annotation": Annotation.BOXES if annotate else Annotation.NONE,
                "claim_epoch": 1,
                "result_epoch": 1,
                "detector": OLD,
                "timings": {},
            }
            for number, (image_id, data) in enumerate(zip(ids, pictures, strict=True))
        ]
        session.execute(insert(Image), rows)
    database.close()
    return ids


def record_results(url: str) -> None:
    """From now on the database (SQLite) itself notes each new result in the table `results`."""
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE results (image_id TEXT)"))
        connection.execute(
            text(
                "CREATE TRIGGER note_result AFTER UPDATE OF result_epoch ON images"
                " WHEN NEW.result_epoch IS NOT OLD.result_epoch"
                " BEGIN INSERT INTO results VALUES (NEW.id); END"
            )
        )
    database.close()


def results(url: str) -> list[UUID]:
    """The image of each new result since `record_results`."""
    database = Database(url)
    with database.engine.begin() as connection:
        rows = connection.execute(text("SELECT image_id FROM results")).all()
    database.close()
    return [UUID(image_id) for (image_id,) in rows]


def detectors(url: str) -> set[str | None]:
    """Those that made the results that are read now."""
    database = Database(url)
    with database.read() as session:
        found = set(session.scalars(select(Image.detector).distinct()))
    database.close()
    return found


def failures(url: str) -> list[tuple[str | None, str | None]]:
    """Code and reason of each reprocessed image that failed."""
    database = Database(url)
    with database.read() as session:
        found = session.execute(
            select(ReprocessedImage.failure_code, ReprocessedImage.failure_reason).where(
                ReprocessedImage.state == ReprocessedImageState.FAILED
            )
        ).all()
    database.close()
    return [(code, reason) for code, reason in found]
