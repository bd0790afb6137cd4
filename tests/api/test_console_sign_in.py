"""Signing in on the console: an API that wants keys, alone, in Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import check_accessible, chromium, watched_page
from tests.support.processes import answers, running, wait_for
from tests.support.stack import ROOT, new_stack

PHOTO = ROOT / "examples" / "eileen-collins.jpg"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The URL of an API alone that wants a key."""
    stack = new_stack(tmp_path / "home", FACET_API_KEYS=f"shop:submit:{'k' * 40}", FACET_LINK_SECRET="l" * 40)
    stack.home.mkdir()
    upgraded = [[*stack.command, "db", "upgrade"], [*stack.command, "api"]]
    with running(upgraded[0], tmp_path / "db.log", env=stack.environment, cwd=ROOT) as upgrade:
        assert upgrade.wait(60) == 0, (tmp_path / "db.log").read_text()
    environment = stack.environment | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    with running(upgraded[1], tmp_path / "api.log", env=environment, cwd=ROOT):
        wait_for(lambda: answers(stack.port), 60, "the API answers")
        yield stack.url


def test_where_keys_are_on_the_page_asks_for_one_and_keeps_it_in_the_tab(guarded: str) -> None:
    with chromium() as browser, watched_page(browser, guarded) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto("/")
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog).to_be_visible()
        check_accessible(page)
        dialog.get_by_label("API key").fill("wrong")
        dialog.get_by_role("button", name="Sign in").click()
        expect(dialog).to_contain_text("unknown or revoked")
        dialog.get_by_label("API key").fill("k" * 40)
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        page.locator("#photos").set_input_files([PHOTO])
        expect(page.locator("#sent-list li")).to_contain_text("queued")
        page.get_by_role("link", name="eileen-collins.jpg").click()
        expect(page.locator("#veil")).to_be_hidden()
        expect(page.locator("#status")).to_have_text("queued")
        assert page.context.cookies() == [] and not [url for url in asked if "kkkk" in url]
        assert page.evaluate("localStorage.length") == 0
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
        assert page.evaluate("JSON.stringify(sessionStorage)").find("kkkk") < 0
