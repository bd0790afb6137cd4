"""The console's pages and what they are made of; what they do is in test_console_in_browser.py."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fastapi import FastAPI

from facet.principals import KeyScope
from tests.api.test_guards import browser, new_app

ROOT = Path(__file__).parents[2]
PAGES = ("/", "/gallery", "/image")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app, _ = new_app(tmp_path, public_url="https://secret.example")
    return app


def policy(answer: object) -> dict[str, str]:
    parts = answer.headers["content-security-policy"].split(";")  # type: ignore[attr-defined]
    return {name: value for name, _, value in (part.strip().partition(" ") for part in parts)}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_its_own_files_alone_and_holds_nothing(app: FastAPI, path: str) -> None:
    answer = browser(app).get(path)
    allowed = policy(answer)
    assert (allowed["default-src"], allowed["script-src"], allowed["style-src"]) == ("'none'", "'self'", "'self'")
    assert allowed["connect-src"] == "'self'" and allowed["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(allowed)
    assert not re.search(
        r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://(?!…)", answer.text.replace("https?://.+", "")
    )
    assert "secret.example" not in answer.text and "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", [*PAGES, "/docs"])
def test_everything_that_a_page_names_is_served(app: FastAPI, path: str) -> None:
    client, todo, seen = browser(app), [path], set()
    while todo:
        at = todo.pop()
        if at in seen or at == "/openapi.json":
            continue
        seen.add(at)
        answer = client.get(at)
        assert answer.status_code == 200, at
        if answer.headers["content-type"].startswith("text/html"):
            named = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
            todo += [name for name in named if name.startswith("/assets/")]
            assert not [name for name in named if "//" in name]
        elif at.endswith(".js") and "swagger" not in at:
            todo += [
                f"/assets/{name}"
                for name in re.findall(r'from "\./([^"]+)"|import "\./([^"]+)"', answer.text)
                for name in name
                if name
            ]
    assert len(seen) > 3


@pytest.mark.parametrize("prefix", ["/facet", ""])
def test_behind_a_prefix_everything_is_under_it(tmp_path: Path, prefix: str) -> None:
    """Whether the proxy passes the prefix on, or takes it off."""
    app, _ = new_app(tmp_path, public_url="https://example.com/facet/")
    client = browser(app)
    for path in (*PAGES, "/docs"):
        answer = client.get(prefix + path)
        names = re.findall(r"""(?:src|href|content|url: )[=']["']?(/[^"']*)""", answer.text)
        assert answer.status_code == 200 and len(names) > 2
        for name in names:
            assert name.startswith("/facet"), (path, name)
            shown = name.removeprefix("/facet") if not prefix else name
            assert client.get(shown or "/").status_code == 200, name
    assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/facet"}]


def test_a_prefix_is_all_of_a_word(tmp_path: Path) -> None:
    app, _ = new_app(tmp_path, public_url="https://example.com/facet")
    assert browser(app).get("/facets/gallery").status_code == browser(app).get("/facetgallery").status_code == 404
    assert browser(app).get("/facet/facet/gallery").status_code == 404
    assert browser(app).get("/facet").status_code == browser(app).get("/facet/").status_code == 200


def test_assets_are_asked_about_again_and_not_sent_again(app: FastAPI) -> None:
    client = browser(app)
    first = client.get("/assets/base.css")
    assert first.headers["cache-control"] == "no-cache"
    assert client.get("/assets/base.css", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    for path in ("/assets/../app.py", "/assets/%2e%2e/__init__.py", "/assets/nothing.js", "/assets/"):
        assert client.get(path).status_code == 404, path
    assert client.post("/assets/base.css").status_code == 405


def test_pages_are_open_where_keys_are_on_and_what_they_ask_is_not(tmp_path: Path) -> None:
    app, services = new_app(tmp_path)
    services.keys.create("ada", KeyScope.READ)
    client = browser(app)
    for path in (*PAGES, "/assets/base.css"):
        assert client.get(path).status_code == 200
    assert client.get("/v1/activity").status_code == 401


def test_the_package_carries_the_pages(tmp_path: Path) -> None:
    built = [
        sys.executable,
        "-m",
        "uv",
        "build",
        "--wheel",
        "--offline",
        "--no-build-isolation",
        "-o",
        str(tmp_path),
        str(ROOT),
    ]
    done = subprocess.run(built, capture_output=True, text=True, timeout=120)
    if "No module named uv" in done.stderr:
        pytest.skip("uv is not in this environment")
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "api" / "console").rglob("*.*")
        if "__pycache__" not in path.parts
    }
    assert there <= names
