import json
from uuid import uuid4

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from facet.persistence.database import Database
from facet.persistence.models import Delivery, DeliveryState
from facet.persistence.schema import known_revisions, migrations_config
from tests.support.deliveries import new_deliveries
from tests.support.scripted import answer, scripted


def migrate(database: Database, *, up: str = "", down: str = "") -> None:
    with database.engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        config = migrations_config(connection)
        command.upgrade(config, up) if up else command.downgrade(config, down)


def test_deliveries_of_the_first_tables_are_kept_with_their_attempts(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, up="0001")
    image_id, ids = uuid4(), [uuid4(), uuid4()]
    write = str if not database.is_sqlite else lambda value: value.hex  # as SQLAlchemy keeps ids there
    attempt = {
        "at": "2026-11-01T10:00:00.000+00:00",
        "seconds": 0.2,
        "status_code": 500,
        "answer": "no",
        "error": "500",
    }
    with scripted(answer()) as receiver:
        with database.engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO images (id, request_id, status, lane, created_at, available_at, media_type,"
                    " size_bytes, sha256, width, height, min_confidence, min_face_size, annotate, claim_epoch,"
                    " attempts, alone, timings) VALUES (:id, 'r', 'completed', 'interactive', CURRENT_TIMESTAMP,"
                    " CURRENT_TIMESTAMP, 'image/png', 1, '', 1, 1, 0.9, 20, true, 2, 0, false, '{}')"
                ),
                {"id": write(image_id)},
            )
            for epoch, (delivery_id, state) in enumerate(zip(ids, ("failed", "pending"), strict=True)):
                connection.execute(
                    text(
                        "INSERT INTO deliveries (id, image_id, epoch, url, body, state, attempts, created_at)"
                        " VALUES (:id, :image_id, :epoch, :url, :body, :state, :attempts, CURRENT_TIMESTAMP)"
                    ),
                    {
                        "id": write(delivery_id),
                        "image_id": write(image_id),
                        "epoch": epoch,
                        "url": receiver.url,
                        "body": '{"faces": [], "request_id": "é"}',
                        "state": state,
                        "attempts": json.dumps([attempt] * epoch),
                    },
                )
        migrate(database, up="0002")
        with database.read() as session:
            first, second = (session.get_one(Delivery, delivery_id) for delivery_id in ids)
        assert (first.state, first.attempts) == (DeliveryState.FAILED, [])
        assert (second.origin, second.last_attempt) == (receiver.url.removesuffix("/callback"), 1)
        [kept] = second.attempts
        assert (kept.number, kept.status_code, kept.answer, kept.at.hour) == (1, 500, "no", 10)
        new_deliveries(database).deliver_due(5)
        assert receiver.requests[0][1].decode() == '{"faces": [], "request_id": "é"}'
    migrate(database, down="0001")
    with database.engine.begin() as connection:
        rows = connection.execute(text("SELECT attempts FROM deliveries ORDER BY epoch")).scalars().all()
    loaded = [json.loads(row) if isinstance(row, str) else row for row in rows]
    assert [len(attempts) for attempts in loaded] == [0, 2]
    assert loaded[1][0]["status_code"] == 500
    database.close()


def test_what_hangs_on_an_image_survives_a_change_of_the_images_table(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, up="0002")
    identity = (lambda n: uuid4().hex) if database.is_sqlite else (lambda n: uuid4())
    ids = {name: identity(name) for name in ("image", "face", "delivery")}
    with database.engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        for statement in (
            "INSERT INTO images (id, request_id, status, lane, created_at, available_at, media_type, size_bytes,"
            " sha256, width, height, min_confidence, min_face_size, annotate, claim_epoch, attempts, alone, timings)"
            " VALUES (:image, 'r', 'completed', 'interactive', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 'image/png', 1,"
            " '', 1, 1, 0.9, 20, true, 1, 0, false, '{}')",
            "INSERT INTO faces (id, image_id, epoch, position, confidence, x, y, width, height, keypoints, detector)"
            " VALUES (:face, :image, 1, 0, 0.9, 1, 1, 1, 1, '{}', 'd')",
            "INSERT INTO deliveries (id, image_id, epoch, url, origin, body, state, failures, last_attempt, due_at,"
            " created_at) VALUES (:delivery, :image, 1, 'u', 'o', '{}', 'pending', 0, 0, CURRENT_TIMESTAMP,"
            " CURRENT_TIMESTAMP)",
        ):
            connection.execute(text(statement), {name: value for name, value in ids.items() if f":{name}" in statement})
    database.upgrade()
    with database.engine.connect() as connection:
        for table in ("images", "faces", "deliveries"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 1, table
        if database.is_sqlite:
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1, "kept from here on"
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    database.close()


def test_pictures_that_were_wanted_or_not_keep_being_so(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, up="0005")
    with database.engine.execution_options(sqlite_begin="IMMEDIATE").begin() as connection:
        for name, annotate in (("drawn", True), ("plain", False)):
            connection.execute(
                text(
                    "INSERT INTO images (id, request_id, status, lane, created_at, available_at, min_confidence,"
                    " min_face_size, annotate, claim_epoch, attempts, alone, timings) VALUES (:id, :name, 'queued',"
                    " 'interactive', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0.9, 20, :annotate, 0, 0, false, '{}')"
                ),
                {"id": uuid4().hex if database.is_sqlite else uuid4(), "name": name, "annotate": annotate},
            )

    def kept() -> dict[str, object]:
        with database.engine.connect() as connection:
            return {
                name: value for name, value in connection.execute(text("SELECT request_id, annotation FROM images"))
            }

    migrate(database, up="0007")
    assert kept() == {"drawn": "boxes", "plain": "none"}
    database.close()


def test_files_are_named_after_their_revisions(database: Database) -> None:
    with database.engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migrations_config(connection))
    assert known_revisions() == [script.revision for script in scripts.walk_revisions()][::-1]
