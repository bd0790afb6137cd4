"""What is documented is there, and what is there is documented."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from api.app import create_app
from cli.main import app
from facet.services import Services
from facet.settings import Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
_FOLDERS = (".", "docs", "examples", "benchmarks", "facet/detector/models")


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(FACET_\w+)` \| (.*?) \| (.*?) \|$", (DOCS / "settings.md").read_text(), re.MULTILINE)
    documented = [(name, default.strip("`"), meaning) for name, default, meaning in rows]
    assert documented == [(f"FACET_{name.upper()}", *_row(name)) for name in Settings.model_fields]


def _row(name: str) -> tuple[str, str]:
    field = Settings.model_fields[name]
    secret = getattr(field.default, "get_secret_value", lambda: field.default)()
    return ("" if secret in (None, "") else str(secret)), str(field.description)


def test_every_command_is_documented() -> None:
    documented = re.findall(r"^\| `facet ([a-z -]+)` \| .+ \|$", (DOCS / "commands.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(_commands(typer.main.get_command(app)))


def _commands(command: Any, prefix: str = "") -> list[str]:
    if not hasattr(command, "list_commands"):
        return [prefix.strip()]
    names = command.list_commands(None)
    return [each for name in names for each in _commands(command.get_command(None, name), f"{prefix} {name}")]


def test_every_make_target_is_in_its_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert sorted(targets) == sorted(helped)


def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    document = create_app(Services(Settings(home=tmp_path))).openapi()
    endpoints = [f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations]
    documented = re.findall(r"^\| `([A-Z]+ /\S*)` \| .+ \|$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(endpoints)


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    extras = project["project"]["optional-dependencies"].values()
    for requirement in [
        *project["project"]["dependencies"],
        *(r for extra in extras for r in extra),
        *project["dependency-groups"]["dev"],
    ]:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert f"| {name} |" in reasons, name


def test_no_link_of_the_docs_is_broken() -> None:
    pages = [page for folder in _FOLDERS for page in (ROOT / folder).glob("*.md")]
    assert ROOT / "README.md" in pages
    assert [f"{page.name}: {target}" for page in pages for target in _broken(page)] == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A `title`, and: more\n\n```sh\n# no title\n```\n\n## Twice\n\n## Twice\n")
    good = ["other.md", "other.md#a-title-and-more", "other.md#twice", "other.md#twice-1", "#here", "https://x.test/#y"]
    bad = ["gone.md", "gone.md#twice", "other.md#no-title", "other.md#twice-2", "#there"]
    page.write_text("# Here\n" + "".join(f"[a]({target})\n" for target in good + bad) + '<img src="gone.jpg">')
    assert _broken(page) == [*bad, "gone.jpg"]


def _broken(page: Path) -> list[str]:
    """The page's relative links that lead to no file, or to no heading of it."""
    broken = []
    for link, picture in re.findall(r"\]\(([^)\s]+)|<img [^>]*src=\"([^\"]+)", _prose(page)):
        target = link or picture
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        found = file.exists() and (not anchor or anchor in _anchors(file))
        if not found and not target.startswith(("http:", "https:")):
            broken.append(target)
    return broken


def _anchors(page: Path) -> list[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    anchors: list[str] = []
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        anchors.append(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_map_of_the_domain_is_that_of_its_wings() -> None:
    """The same wings in the same order: on the architecture page, in the contract, and in the folder."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    told = re.findall(r"^\| `(\w+)` \|", page.split("### The wings of `facet/`")[1].split("`make lint`")[0], re.M)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == ["facet"]]
    assert told == [wing.strip() for layer in layers for wing in layer.split("|")]
    there = {
        path.stem for path in (ROOT / "facet").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(told) == there - {"__init__"}
