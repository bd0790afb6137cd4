"""The header `Idempotency-Key` of `POST /v1/images`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.app import create_app
from facet.intake.idempotency import Hold, IdempotencyKeys, KeyBusy, StoredAnswer
from facet.persistence.database import Database, utcnow
from facet.persistence.models import IdempotencyKey
from facet.services import Services
from facet.settings import Settings
from tests.api.conftest import LOOPBACK
from tests.support.api import assert_problem
from tests.support.images import picture

Send = Callable[..., Any]
DATA = picture()


class Died(BaseException):
    """The process has ended."""


@pytest.fixture
def send(client: TestClient) -> Send:
    return lambda key="key-1", **changes: send_to(client, key, **changes)


def send_to(client: TestClient, key: str, data: bytes = DATA, name: str = "photo.png", **fields: str) -> Any:
    fields = {"request_id": "r-é"} | fields
    return client.post("/v1/images", files={"image": (name, data)}, data=fields, headers={"Idempotency-Key": key})


def images(client: TestClient) -> list[Any]:
    listed: list[Any] = client.get("/v1/images").json()["images"]
    return listed


def change_key(database: Database, **values: Any) -> None:
    with database.write() as session:
        session.execute(update(IdempotencyKey).values(values))


def test_the_same_submission_is_done_once_and_answered_the_same(client: TestClient, send: Send) -> None:
    first = send()
    client.delete(f"/v1/images/{images(client)[0]['id']}")
    again = send()
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.content == again.content and first.headers["location"] == again.headers["location"]
    assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert images(client) == [], "not even when what it made is gone since"


def test_the_answer_is_that_of_a_submission_without_a_key(client: TestClient, send: Send) -> None:
    keyed = send().json()
    plain = client.post("/v1/images", files={"image": ("photo.png", DATA)}, data={"request_id": "r-é"}).json()
    assert keyed.keys() == plain.keys()
    assert {**keyed, "id": "", "links": ""} == {**plain, "id": "", "links": ""}


@pytest.mark.parametrize(
    "changes",
    [
        {"data": picture(65)},
        {"name": "other.png"},
        {"request_id": "other"},
        {"callback_url": "http://127.0.0.1:9/x"},
        {"min_confidence": "0.5"},
        {"min_face_size": "30"},
        {"annotate": "false"},
    ],
)
def test_another_submission_under_the_same_key_is_refused(
    client: TestClient, send: Send, changes: dict[str, Any]
) -> None:
    send()
    assert_problem(send(**changes), 422, "key-reused", "Idempotency-Key")
    assert len(images(client)) == 1


def test_other_keys_and_no_key_are_other_submissions(client: TestClient, send: Send) -> None:
    assert send("key-1").json()["id"] != send("key-2").json()["id"]
    client.post("/v1/images", files={"image": ("photo.png", DATA)}, data={"request_id": "r-é"})
    assert len(images(client)) == 3


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "tab\tbed"])
def test_what_is_no_key_is_refused(client: TestClient, send: Send, key: str) -> None:
    assert_problem(send(key), 422, "invalid", "Idempotency-Key")
    assert images(client) == []


def test_while_the_first_is_in_progress_the_second_waits_and_after_a_crash_it_is_done(
    client: TestClient, send: Send, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process dies after it has stored the object and before it has committed the row."""

    def die(*args: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(IdempotencyKeys, "complete", die)
        with suppress(BaseException):  # what comes of it depends on the server; a dead one gives no answer
            send()
    busy = send()
    assert_problem(busy, 409, "in-progress")
    assert int(busy.headers["retry-after"]) > 0
    assert images(client) == []
    change_key(services.database, lease_until=utcnow())
    assert_problem(send(request_id="other"), 422, "key-reused", "Idempotency-Key")
    assert send().status_code == 202
    assert len(images(client)) == 1


def test_one_that_was_only_slow_finds_its_hold_lost_and_makes_nothing(
    client: TestClient, send: Send, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, overtaken = services.store.put, []

    def slow_put(*args: Any) -> None:
        put(*args)
        if not overtaken:
            overtaken.append(True)
            change_key(services.database, lease_until=utcnow())
            overtaken.append(send())

    monkeypatch.setattr(services.store, "put", slow_put)
    assert_problem(send(), 409, "in-progress")
    [image] = images(client)
    assert overtaken[1].json()["id"] == image["id"] == send().json()["id"]
    assert client.get(f"/v1/images/{image['id']}/original").content == DATA


def test_a_refused_submission_leaves_its_key_free(
    client: TestClient, send: Send, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(data=b"hello").status_code == 415
    assert send(callback_url="http://10.0.0.1/").status_code == 422
    (tmp_path / "objects").touch()  # a file where the store's folder should be
    assert send().status_code == 503
    (tmp_path / "objects").unlink()
    assert send().status_code == 202
    assert len(images(client)) == 1


def test_a_key_is_forgotten_after_its_time(
    client: TestClient, send: Send, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = send()
    with services.database.read() as session:
        row = session.scalars(select(IdempotencyKey)).one()
        assert 23.9 < (row.expires_at - services.database.now(session)).total_seconds() / 3600 <= 24
    change_key(services.database, expires_at=utcnow())
    with monkeypatch.context() as patch:
        patch.setattr("facet.intake.idempotency._SWEPT", 0)  # as when more keys are over than are swept at once
        assert send().json()["id"] != first.json()["id"]
    change_key(services.database, expires_at=utcnow())
    assert send("key-2", request_id="other").status_code == 202
    with services.database.read() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["key-2"], "others are swept"


def test_a_race_of_processes_makes_one_image(database_url: str, services: Services, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=database_url)
    clients = [TestClient(create_app(Services(settings)), base_url=LOOPBACK) for _ in range(6)]
    barrier, answers = Barrier(len(clients)), []

    def run(client: TestClient) -> None:
        barrier.wait()
        answers.append(send_to(client, "raced"))

    threads = [Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(clients) and {answer.status_code for answer in answers} <= {202, 409}
    [image] = images(clients[0])
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert accepted and {answer.json()["id"] for answer in accepted} == {image["id"]}
    assert len(list(services.store.keys("images/"))) == 1
    assert send_to(clients[0], "raced").json()["id"] == image["id"]


def test_owners_do_not_share_keys_and_a_released_key_is_free(database: Database) -> None:
    keys = IdempotencyKeys(database, hours=1)
    holds = [keys.begin("k", "content", owner) for owner in ("a", "b")]
    assert all(isinstance(hold, Hold) for hold in holds)
    with pytest.raises(KeyBusy):
        keys.begin("k", "content", "a")
    first = holds[0]
    assert isinstance(first, Hold)
    keys.release(first)
    second = keys.begin("k", "other content", "a")
    assert isinstance(second, Hold)
    with pytest.raises(KeyBusy), database.write() as session:
        keys.complete(session, first, StoredAnswer(202, "", ""))
    with database.write() as session:
        keys.complete(session, second, StoredAnswer(202, "there", "{}"))
    keys.release(second)
    assert keys.begin("k", "other content", "a") == StoredAnswer(202, "there", "{}")
