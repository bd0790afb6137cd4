"""What is documented is there, and what is there is documented."""

import re
from pathlib import Path

import typer

from api.app import create_app
from cli.main import app
from facet.services import Services
from facet.settings import Settings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


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


def _commands(command: object, prefix: str = "") -> list[str]:
    commands = getattr(command, "commands", None)
    if commands is None:
        return [prefix.strip()]
    return [name for key, child in commands.items() for name in _commands(child, f"{prefix} {key}")]


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
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
