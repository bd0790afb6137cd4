"""Debian's Chromium, driven by Playwright; notes what a page must not do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright


@contextmanager
def chromium() -> Iterator[Browser]:
    program = next(found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, origin: str, **options: Any) -> Iterator[Page]:
    """A page in a profile of its own, that may talk to its origin alone and must raise and violate nothing.

    Failed requests are in the console too, and are not counted: tests make some on purpose.
    """
    context = browser.new_context(base_url=origin, **{"viewport": {"width": 1280, "height": 860}} | options)
    faults: list[str] = []
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console", lambda told: faults.append(told.text) if told.type == "error" and not _failed(told.text) else None
    )
    page.on("request", lambda request: faults.append(request.url) if _is_foreign(request.url, origin) else None)
    try:
        yield page
        assert faults == []
    finally:
        context.close()


def check_accessible(page: Page) -> None:
    """Axe finds no fault in the page as it is now."""
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def _failed(text: str) -> bool:
    return text.startswith("Failed to load resource")


def _is_foreign(url: str, origin: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" != origin
