"""The console in Chromium, on a whole stack: from the drop to the boxes, the run, the callbacks."""

import io
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import check_accessible, chromium, watched_page
from tests.support.images import group, picture
from tests.support.processes import wait_for
from tests.support.receiver import Receiver
from tests.support.stack import ROOT, Stack

PHOTO = ROOT / "examples" / "eileen-collins.jpg"
SCREENSHOTS = os.environ.get("FACET_SCREENSHOTS")
"""A folder to which the pictures of docs/console.md are written anew."""
SECONDS = 60_000
GREEN = """canvas => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) count += data[i] === 46 && data[i + 1] === 230 && data[i + 2] === 166;
    return count;
}"""
"""Pixels in the very colour of the boxes."""


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Stack:
    return shared_stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    with watched_page(browser, stack.url) as page:
        yield page


@pytest.fixture(scope="module")
def portrait(stack: Stack) -> str:
    """The id of a completed image of one face."""
    return str(stack.finished(stack.submit(PHOTO.read_bytes(), request_id="portrait")["id"])["id"])


@pytest.fixture(scope="module")
def crew(stack: Stack) -> str:
    """The id of a completed image of four faces."""
    return str(stack.finished(stack.submit(group(PHOTO.read_bytes()), request_id="crew")["id"])["id"])


def shoot(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(700)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.jpg", quality=88)


def open_image(page: Page, image_id: str) -> None:
    page.goto(f"/image?id={image_id}")
    expect(page.locator("#veil")).to_be_hidden()


def test_a_photo_goes_from_the_page_to_its_faces_its_run_and_its_callback(
    stack: Stack, page: Page, receiver: Receiver
) -> None:
    receiver.statuses = [204, 500]
    page.goto("/")
    page.get_by_text("Options").click()
    page.get_by_label("Callback URL").fill(receiver.url)
    page.locator("#photos").set_input_files([PHOTO])
    row = page.locator("#sent-list li")
    expect(row).to_contain_text("completed 1 face", timeout=SECONDS)
    expect(page.locator("#sent-summary")).to_have_text("1 of 1 photo done")
    expect(page.locator("#throughput .figure")).not_to_have_text("0", timeout=SECONDS)
    row.get_by_role("link", name="eileen-collins.jpg").click()

    expect(page.get_by_text("1 of 1 face")).to_be_visible()
    expect(page.locator("#crops button")).to_have_count(1)
    assert [cell.strip() for cell in page.locator("#numbers tr td").all_inner_texts()][1:5] == [
        str(value) for value in stack.image(page.url.split("id=")[1])["faces"][0]["box"]
    ]
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the run in Prefect").click()
    expect(opened.value.get_by_text("eileen-collins.jpg").first).to_be_visible(timeout=SECONDS)
    opened.value.close()

    callbacks = page.locator("#deliveries")
    expect(callbacks.locator(".chip")).to_have_text("delivered", timeout=SECONDS)
    expect(callbacks.locator("tbody tr")).to_have_count(1)
    callbacks.get_by_role("button", name="Redeliver").click()
    wait_for(lambda: receiver.count("eileen-collins.jpg") == 2, 60, "the callback came again")
    expect(callbacks.locator("tbody tr")).to_have_count(2)
    expect(callbacks.locator("tbody tr").first).to_contain_text("500")


def test_the_slider_filters_boxes_crops_and_numbers_at_once(page: Page, crew: str) -> None:
    open_image(page, crew)
    canvas, slider, shown = page.locator("#canvas"), page.get_by_label("Confidence at least"), page.locator("#shown")
    expect(shown).to_have_text("4 of 4 faces")
    all_boxes = canvas.evaluate(GREEN)
    slider.fill("0.9985")
    expect(shown).to_have_text("1 of 4 faces")
    assert 200 < canvas.evaluate(GREEN) < all_boxes / 2
    expect(page.locator("#crops button")).to_have_count(1)
    expect(page.locator("#numbers tr")).to_have_count(1)
    slider.press("End")
    expect(shown).to_have_text("0 of 4 faces")
    assert canvas.evaluate(GREEN) == 0
    slider.press("Home")
    expect(page.locator("#numbers tr")).to_have_count(4)
    assert canvas.evaluate(GREEN) == all_boxes
    page.get_by_label("Keypoints").uncheck()
    assert 0 < canvas.evaluate(GREEN) < all_boxes
    crop = page.locator("#crops button").nth(1)
    crop.focus()
    page.keyboard.press("Enter")
    expect(crop).to_have_attribute("aria-pressed", "true")
    expect(crop).to_be_focused()
    expect(page.locator("#numbers tr.chosen")).to_have_count(1)


@pytest.mark.parametrize(("style", "word"), [("blur", "blurred"), ("pixelate", "pixelated")])
def test_faces_are_hidden_on_the_page_and_in_the_download(
    stack: Stack, page: Page, portrait: str, style: str, word: str
) -> None:
    open_image(page, portrait)
    with page.expect_response(lambda answer: f"style={style}" in answer.url):
        page.get_by_text(style.capitalize(), exact=True).click()
    expect(page.locator("#canvas")).to_have_attribute("aria-label", f"The photo with {word} faces, 1 face")
    if style == "blur":
        shoot(page, style)
    with page.expect_download() as download:
        page.locator("#download-picture").click()
    assert download.value.suggested_filename == f"portrait-{style}.jpg"
    hidden = np.asarray(Pillow.open(download.value.path()).convert("RGB")).astype(int)
    original = np.asarray(Pillow.open(PHOTO).convert("RGB")).astype(int)
    x, y, width, height = stack.image(portrait)["faces"][0]["box"]
    changed = np.abs(hidden - original).mean(axis=2)
    assert changed[y : y + height, x : x + width].mean() > 10
    assert changed[-100:].mean() < 4, "away from the face it is the photo"


def test_a_format_that_browsers_do_not_know_is_shown_all_the_same(stack: Stack, page: Page) -> None:
    tiff = io.BytesIO()
    Pillow.open(PHOTO).save(tiff, "TIFF")
    image_id = stack.finished(stack.submit(tiff.getvalue(), request_id="scan")["id"])["id"]
    open_image(page, image_id)
    canvas = page.locator("#canvas")  # drawn anew once the original has failed to load
    wait_for(lambda: canvas.evaluate(GREEN) > 200, 30, "the boxes are drawn")


def test_the_numbers_are_downloaded_as_the_api_has_them(stack: Stack, page: Page, portrait: str) -> None:
    open_image(page, portrait)
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    assert json.loads(Path(download.value.path()).read_text()) == stack.image(portrait)
    with page.expect_download() as download:
        page.get_by_role("button", name="Original").click()
    assert Path(download.value.path()).read_bytes() == PHOTO.read_bytes()


def test_photos_come_by_folder_by_drop_and_by_a_pasted_url(stack: Stack, page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    (folder / "day 1").mkdir(parents=True)
    (folder / "day 1" / "a.png").write_bytes(picture())
    (folder / "day 1" / "IMG_0001").write_bytes(picture())
    (folder / "notes.txt").write_text("no photo")
    (folder / "._a.png").write_bytes(picture())
    page.goto("/")
    page.locator("#folder").set_input_files(folder)
    rows = page.locator("#sent-list li")
    expect(rows).to_have_count(2)
    for name in ("day 1/a.png", "day 1/IMG_0001"):
        expect(rows.filter(has_text=name)).to_have_count(1)
    expect(page.locator("#left-out")).to_contain_text("Left out 2 files")
    expect(page.locator("#left-out")).to_contain_text("notes.txt")
    page.locator("#drop").evaluate(
        """(zone, data) => {
            const dataTransfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            dataTransfer.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));
            dataTransfer.items.add(new File(['no photo'], 'notes.txt'));
            zone.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        b64encode(picture()).decode(),
    )
    expect(rows.filter(has_text="notes.txt")).to_contain_text("The bytes are of no known picture format.")
    photos = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(PHOTO.parent)))
    Thread(target=photos.serve_forever, daemon=True).start()
    page.evaluate(
        """(url) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData('text/plain', url);
            document.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }));
        }""",
        f"http://127.0.0.1:{photos.server_port}/{PHOTO.name}",
    )
    expect(rows.filter(has_text=PHOTO.name)).to_contain_text("completed 1 face", timeout=SECONDS)
    expect(rows.filter(has_text="dropped.png")).to_contain_text("completed no face", timeout=SECONDS)
    photos.shutdown()
    photos.server_close()
    page.reload()
    expect(rows).to_have_count(4)  # what was refused is not remembered


def test_the_gallery_filters_and_its_address_says_so(stack: Stack, page: Page, portrait: str) -> None:
    [broken] = [stack.submit(picture(900, 900), request_id="other")["id"]]
    stack.finished(broken)
    page.goto("/gallery")
    tiles = page.locator("#gallery li")
    expect(tiles.filter(has_text="other").first).to_be_visible()
    page.get_by_label("Request").fill("portrait")
    page.get_by_role("button", name="Filter").click()
    expect(tiles).to_have_count(1)
    expect(tiles.locator("img")).to_be_visible()
    assert page.url.endswith("/gallery?request_id=portrait")
    page.get_by_label("Status").select_option("failed")
    expect(page.locator("#found")).to_have_text("There is no such image.")
    page.go_back()
    expect(tiles).to_have_count(1)
    tiles.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("portrait")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_in_either_scheme_and_fits_a_phone(
    browser: Browser, stack: Stack, receiver: Receiver, tmp_path: Path, scheme: str
) -> None:
    crew = tmp_path / "crew.jpg"
    crew.write_bytes(group(PHOTO.read_bytes()))
    called = stack.submit(crew.read_bytes(), request_id="crew", callback_url=receiver.url)["id"]
    stack.finished(called)
    with watched_page(browser, stack.url, color_scheme=scheme) as page:
        page.goto("/")
        page.get_by_text("Options").click()
        page.locator("#photos").set_input_files([crew, PHOTO])
        for number in range(2):
            expect(page.locator("#sent-list li").nth(number)).to_contain_text("completed", timeout=SECONDS)
        check_accessible(page)
        page.get_by_text("Options").click()
        shoot(page, f"submit-{scheme}")
        page.goto("/gallery")
        expect(page.locator("#gallery img").first).to_be_visible()
        check_accessible(page)
        shoot(page, f"gallery-{scheme}")
        open_image(page, called)
        expect(page.locator("#deliveries .chip")).to_have_text("delivered", timeout=SECONDS)
        page.locator("#crops button").first.click()
        check_accessible(page)
        page.evaluate("scrollTo(0, 0)")
        shoot(page, f"image-{scheme}")
        page.locator("#deliveries").scroll_into_view_if_needed()
        shoot(page, f"faces-{scheme}")
        page.goto("/image?id=nothing")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        check_accessible(page)
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
    with watched_page(browser, stack.url, color_scheme=scheme, **phone) as page:
        for path, there in (
            ("/", "#throughput .line"),
            ("/gallery", "#gallery img"),
            (f"/image?id={called}", "#crops"),
        ):
            page.goto(path)
            expect(page.locator(there).first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            if scheme == "light":
                shoot(page, f"phone-{path.strip('/').split('?')[0] or 'submit'}")


def test_the_api_docs_are_shown_without_the_internet(page: Page) -> None:
    page.goto("/docs")
    expect(page.get_by_text("/v1/images/{image_id}/annotated").first).to_be_visible()
