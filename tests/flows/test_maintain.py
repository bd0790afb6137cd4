"""Maintenance on the real stack: what is wrong is mended by its own flow, and Prefect's own rows go with age."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from facet.persistence.database import Database
from facet.persistence.models import Image, ImageStatus, Run, RunState
from tests.support.images import picture
from tests.support.processes import wait_for
from tests.support.receiver import Receiver
from tests.support.stack import Stack, new_stack, started


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = new_stack(
        tmp_path_factory.mktemp("stack") / "home",
        FACET_WORKER_SLOTS="1",
        FACET_RETENTION_DAYS="2",
        PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS="2",
        PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS="2",  # logs that arrive after their run went
    )
    with started(stack):
        yield stack


def maintained(stack: Stack) -> dict[str, Any]:
    """A run of `maintain`, ended, with its artifact's rows by their kind."""
    flow_run_id = stack.run_of("maintain")

    def ended() -> Any:
        run = stack.flow_run(flow_run_id)
        return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    wait_for(ended, 120, "maintain has ended")
    of_run = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    return ended() | {"artifact": stack.prefect("/artifacts/filter", **of_run)[0]}


def test_what_is_wrong_is_mended_and_told(stack: Stack, receiver: Receiver, photo: bytes) -> None:
    done = stack.submit(photo, request_id="done")["id"]
    stack.finished(done)
    held = stack.submit(picture(), request_id="held", callback_url=receiver.url)["id"]
    stack.finished(held)
    annotated = next((stack.home / "objects" / "images" / done).glob("annotated-*"))
    annotated.unlink()
    database = Database(f"sqlite:///{stack.home / 'facet.db'}")
    with database.write() as session:  # an image that no timer looks at
        session.add(Run(id=(dead := uuid4()), state=RunState.OVER))
        session.flush()
        session.execute(
            update(Image)
            .where(Image.request_id == "held")
            .values(status=ImageStatus.QUEUED, run_id=dead, result_epoch=None)
        )
    database.close()
    run = maintained(stack)
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["work_queue_name"] == "control"
    assert "2 found, 2 mended. The dispatchers' timers missed 1" in run["state"]["message"]
    assert run["artifact"]["key"] == "maintenance" and held in run["artifact"]["data"]
    assert annotated.read_bytes()[:2] == b"\xff\xd8"
    assert stack.finished(held)["status"] == "completed"
    wait_for(lambda: receiver.count("held") == 2, 60, "both results are told")


def test_prefects_own_flow_runs_and_logs_go_with_age(stack: Stack) -> None:
    """Prefect removes them by itself; `facet up` only says so to its server."""
    image = stack.submit(picture(), request_id="old")["id"]
    stack.finished(image)
    flow_run_id = stack.image(image)["flow_run"]["id"]
    of_run = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
    of_logs = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}}
    wait_for(lambda: stack.prefect("/logs/filter", **of_logs), 30, "its logs")
    wait_for(lambda: stack.prefect("/flow_runs/filter", **of_run)[0]["state_type"] == "COMPLETED", 30, "it completed")
    long_ago = (datetime.now(UTC) - timedelta(days=3)).strftime("%Y-%m-%d %H:%M:%S.%f")
    with sqlite3.connect(stack.home / "prefect" / "prefect.db", timeout=30) as connection:
        changed = connection.execute("UPDATE flow_run SET end_time = ? WHERE id = ?", (long_ago, flow_run_id))
        assert changed.rowcount == 1
    wait_for(lambda: not stack.prefect("/flow_runs/filter", **of_run), 60, "the flow run is gone")
    wait_for(lambda: not stack.prefect("/logs/filter", **of_logs), 60, "its logs are gone")
