"""Retry, Cancel and Suspend in the real Prefect UI, driven in Chromium."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, TimeoutError, sync_playwright

from tests.support import local_http
from tests.support.processes import wait_for
from tests.support.stack import Stack, new_stack, started
from tests.support.stored import store_completed

SCREENSHOTS = os.environ.get("FACET_SCREENSHOTS")
"""A folder to which the pictures of docs/operating.md are written anew."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = new_stack(tmp_path_factory.mktemp("stack") / "home", FACET_MAX_RUNS="1", FACET_WORKER_SLOTS="1")
    with started(stack):
        yield stack


@pytest.fixture
def page() -> Iterator[Page]:
    chromium = next(
        found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 760})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def press(page: Page, button: str) -> None:
    """Press a button of the run's page, and agree to what it asks."""
    page.get_by_role("button", name=button, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    agree = dialog.get_by_role("button").filter(has_text=re.compile(r"\w")).filter(has_not_text="Close").first

    def agreed() -> bool:
        """Once more where Prefect's SQLite was busy, of which the UI says "Something went wrong"."""
        try:
            agree.click(timeout=10_000)
            dialog.wait_for(state="hidden", timeout=10_000)
        except TimeoutError:
            return not dialog.is_visible()
        return True

    wait_for(agreed, 90, f"the UI has done: {button}")


def open_run(stack: Stack, page: Page, flow_run_id: str, tab: str | None = None) -> None:
    page.goto(f"http://127.0.0.1:{stack.prefect_port}/runs/flow-run/{flow_run_id}")
    if tab:
        page.get_by_text(tab, exact=True).first.click()


def picture_of(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(3_000)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def bulk_queue(stack: Stack, *, paused: bool) -> None:
    url = f"http://127.0.0.1:{stack.prefect_port}/api/work_pools/faces/queues/bulk"
    change = {"is_paused": paused}
    wait_for(lambda: httpx.patch(url, json=change, timeout=30).is_success, 30, "Prefect's SQLite has a moment")


def ask(stack: Stack, **request: Any) -> str:
    """A reprocessing's URL, once its images wait and its run has begun."""
    answer = local_http.post(f"{stack.url}/v1/reprocessings", json=request, timeout=30).raise_for_status()
    url = str(answer.headers["location"])
    wait_for(lambda: read(url)["taken"], 90, "images were taken")
    return url


def read(url: str) -> dict[str, Any]:
    return dict(local_http.get(url, timeout=30).raise_for_status().json())


def state_of(stack: Stack, flow_run_id: str) -> str:
    [run] = stack.prefect("/flow_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}})
    return str(run["state_name"])


def test_suspend_pauses_a_reprocessing_and_resume_goes_on(stack: Stack, page: Page, photo: bytes) -> None:
    store_completed(stack.home, f"sqlite:///{stack.home / 'facet.db'}", [photo] * 8, annotate=True)
    bulk_queue(stack, paused=True)
    reprocessing = ask(stack, min_confidence=0.9)
    flow_run_id = read(reprocessing)["flow_run"]["id"]
    open_run(stack, page, flow_run_id)
    press(page, "Suspend")
    wait_for(lambda: read(reprocessing)["state"] == "paused", 90, "the reprocessing is paused")
    assert state_of(stack, flow_run_id) == "Suspended"
    press(page, "Resume")
    wait_for(lambda: read(reprocessing)["state"] == "active", 90, "it goes on")
    bulk_queue(stack, paused=False)
    wait_for(lambda: read(reprocessing)["state"] == "completed", 120, "it is over")
    assert read(reprocessing)["completed"] == 8
    assert read(reprocessing)["flow_run"]["id"] == flow_run_id
    wait_for(lambda: state_of(stack, flow_run_id) == "Completed", 60, "its run too")
    open_run(stack, page, flow_run_id, "Artifacts")
    page.get_by_text("What became of the images").first.wait_for()
    artifacts = stack.prefect("/artifacts/filter", flow_runs={"id": {"any_": [flow_run_id]}})
    report = next(artifact for artifact in artifacts if artifact["type"] == "markdown")
    page.goto(f"http://127.0.0.1:{stack.prefect_port}/artifacts/artifact/{report['id']}")
    page.get_by_text("images with another number of faces").first.wait_for()
    picture_of(page, "report")


def test_cancel_cancels_a_reprocessing_and_its_images_stay_as_they_were(stack: Stack, page: Page, photo: bytes) -> None:
    [image_id] = store_completed(stack.home, f"sqlite:///{stack.home / 'facet.db'}", [photo], annotate=True)
    before = stack.image(str(image_id))
    bulk_queue(stack, paused=True)
    reprocessing = ask(stack)
    flow_run_id = read(reprocessing)["flow_run"]["id"]
    wait_for(lambda: state_of(stack, flow_run_id) == "Running", 60, "its run runs")
    open_run(stack, page, flow_run_id)
    press(page, "Cancel")
    wait_for(lambda: read(reprocessing)["state"] == "cancelled", 60, "the reprocessing is cancelled")
    wait_for(lambda: state_of(stack, flow_run_id) == "Cancelled", 60, "its run too")
    bulk_queue(stack, paused=False)
    wait_for(lambda: stack.image(str(image_id))["reprocessing_id"] is None, 90, "the image has ended")
    after = stack.image(str(image_id))
    assert after["status"] == before["status"] == "completed"


def test_retry_redoes_what_is_not_done(stack: Stack, page: Page, photo: bytes) -> None:
    with stack.prefect_away():
        stack.submit(photo, request_id="first")  # takes the only slot, so that one run takes the others
        good, bad = (stack.submit(photo, request_id=name)["id"] for name in ("good", "bad"))
        original = stack.home / "objects" / "images" / bad / "original"
        original.write_bytes(photo[:20_000])
    assert stack.finished(bad)["failure"]["code"] == "undecodable"
    done = stack.finished(good)
    flow_run_id = stack.image(bad)["flow_run"]["id"]
    assert done["flow_run"]["id"] == flow_run_id
    wait_for(lambda: state_of(stack, flow_run_id) == "Failed", 60, "the run stands out")
    original.write_bytes(photo)
    open_run(stack, page, flow_run_id)
    press(page, "Retry")
    wait_for(lambda: stack.image(bad)["status"] == "completed", 90, "the failed image is done")
    wait_for(lambda: state_of(stack, flow_run_id) == "Completed", 60, "and so is its run")
    assert stack.image(good)["finished_at"] == done["finished_at"], "it was not done again"
    page.reload()
    picture_of(page, "run")
    open_run(stack, page, flow_run_id, "Artifacts")
    page.get_by_text("What became of each image").first.wait_for()
    picture_of(page, "artifacts")
