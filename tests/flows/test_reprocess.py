"""Bulk reprocessing on the real stack."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import psutil
import pytest

from tests.support import local_http
from tests.support.images import picture
from tests.support.processes import wait_for
from tests.support.stack import Stack, new_stack, started
from tests.support.stored import OLD, detectors, failures, record_results, results, store_completed

IMAGES = 240
"""Some four times as many as are in the queue at once."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = new_stack(
        tmp_path_factory.mktemp("stack") / "home",
        FACET_MAX_BATCH="16",
        FACET_LEASE_SECONDS="15",
        FACET_PENDING_SECONDS="20",
    )
    with started(stack):
        yield stack


@pytest.fixture(scope="module")
def database_url(stack: Stack) -> str:
    url = f"sqlite:///{stack.home / 'facet.db'}"
    record_results(url)
    return url


def ask(stack: Stack, **request: Any) -> str:
    """Ask for a reprocessing; returns its URL."""
    answer = local_http.post(f"{stack.url}/v1/reprocessings", json=request)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def read(url: str) -> dict[str, Any]:
    """How far it is; not asked more often than twice a second, since the stack has better things to do."""
    time.sleep(0.4)
    return dict(local_http.get(url, timeout=60).raise_for_status().json())


def children(stack: Stack) -> list[psutil.Process]:
    return stack.processes("worker.child")


def test_worker_and_flow_are_killed_in_the_middle_and_each_image_is_done_exactly_once(
    stack: Stack, database_url: str
) -> None:
    ids = store_completed(stack.home, database_url, [picture(24, 24)] * IMAGES)
    reprocessing = ask(stack, request_id_prefix="stored-", call_back=True)
    wait_for(lambda: read(reprocessing)["completed"] >= IMAGES // 5, 180, "a fifth of it")
    for process in children(stack):  # among them the reprocess run's
        process.kill()
    wait_for(lambda: read(reprocessing)["completed"] >= IMAGES // 2, 180, "half of it")
    for process in [*stack.processes("cli.main worker"), *children(stack)]:
        process.kill()
    wait_for(lambda: read(reprocessing)["state"] == "completed", 240, "all of it")
    done = read(reprocessing)
    assert (done["total"], done["taken"], done["completed"]) == (IMAGES, IMAGES, IMAGES), failures(database_url)
    of_reprocess = {
        "flow_runs": {"tags": {"all_": [f"reprocessing:{done['id']}"]}},
        "flows": {"name": {"any_": ["reprocess"]}},
    }
    assert len(stack.prefect("/flow_runs/filter", **of_reprocess)) > 1, "another flow run has gone on with it"
    assert Counter(results(database_url)) == Counter(ids), "each image has one new result"
    assert not detectors(database_url) & {OLD, None}

    of_run = {"flow_runs": {"id": {"any_": [done["flow_run"]["id"]]}}}
    wait_for(lambda: len(stack.prefect("/artifacts/filter", **of_run)) == 2, 30, "the report")
    artifacts = {artifact["type"]: artifact for artifact in stack.prefect("/artifacts/filter", **of_run)}
    assert artifacts["progress"]["data"] == 100
    assert f"| images | {IMAGES} of {IMAGES} |" in artifacts["markdown"]["data"]


def test_a_bulk_run_yields_to_a_submission_in_its_midst_and_is_not_starved_by_more(
    stack: Stack, database_url: str
) -> None:
    store_completed(stack.home, database_url, [picture(1400, 1400)] * 48)
    reprocessing = ask(stack)
    wait_for(lambda: len(running(stack)) >= 2, 60, "bulk runs have both slots")
    at_work = children(stack)
    for child in at_work:  # so that they are in the midst of it when it comes
        child.suspend()
    with ThreadPoolExecutor(1) as sender:
        first = sender.submit(stack.submit, picture(), request_id="urgent")
        wait([first], timeout=5)  # no longer, if one of them holds the database's lock
        for child in at_work:
            child.resume()
    stack.finished(first.result()["id"], 60)

    def done_though_submissions_keep_coming() -> bool:
        stack.finished(stack.submit(picture(), request_id="urgent")["id"], 60)
        return bool(read(reprocessing)["state"] == "completed")

    wait_for(done_though_submissions_keep_coming, 240, "all of it")
    assert any("left to a later run" in str(table_of(stack, run)) for run in bulk_runs(stack)), "none has yielded"
    assert read(reprocessing)["failed"] == 0


def running(stack: Stack) -> list[dict[str, Any]]:
    return [run for run in bulk_runs(stack) if run["state_type"] == "RUNNING"]


def bulk_runs(stack: Stack) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = stack.prefect(
        "/flow_runs/filter", flow_runs={"tags": {"all_": ["bulk"]}}, sort="START_TIME_DESC", limit=200
    )
    return runs


def table_of(stack: Stack, run: dict[str, Any]) -> object:
    of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}, "artifacts": {"type": {"any_": ["table"]}}}
    return stack.prefect("/artifacts/filter", **of_run)


def test_an_old_run_that_is_retried_after_its_images_were_redone_changes_nothing(
    stack: Stack, database_url: str, photo: bytes
) -> None:
    image_id = stack.submit(photo, request_id="old")["id"]
    original = stack.home / "objects" / "images" / image_id / "original"
    broken = stack.submit(photo, request_id="broken")["id"]
    stack.finished(image_id)
    stack.finished(broken)
    old_run = stack.image(image_id)["flow_run"]["id"]
    reprocessing = ask(stack, other_detector=False, request_id_prefix="old", min_confidence=1)
    wait_for(lambda: read(reprocessing)["state"] == "completed", 90, "redone")
    redone = stack.image(image_id)
    assert (redone["faces"], redone["min_confidence"]) == ([], 1)
    assert original.exists()
    known = len(results(database_url))
    of_run = {"flow_runs": {"id": {"any_": [old_run]}}}
    state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
    stack.prefect(f"/flow_runs/{old_run}/set_state", state=state, force=True)
    wait_for(lambda: stack.prefect("/flow_runs/filter", **of_run)[0]["run_count"] == 2, 60, "the old run runs again")
    wait_for(
        lambda: stack.prefect("/flow_runs/filter", **of_run)[0]["state_type"] == "COMPLETED",
        60,
        "and has nothing to do",
    )
    after = stack.image(image_id)
    assert (after["faces"], after["finished_at"]) == (redone["faces"], redone["finished_at"])
    assert len(results(database_url)) == known
