"""`facet keys`, and the refusal to be opened to others without one."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from cli.safety import NotSafe, check_access
from cli.stack import _environment
from facet.principals import KeyScope
from facet.services import Services
from facet.settings import Settings, get_settings
from tests.support.databases import make_tables
from tests.support.processes import free_port
from tests.support.stack import ROOT, new_stack

Facet = Callable[..., Result]
KEY = f"shop:submit:{'a' * 32}"


@pytest.fixture
def facet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facet]:
    """A `facet` command in this process; keywords are settings."""

    def run(*arguments: str, **settings: str) -> Result:
        for name, value in ({"FACET_HOME": str(tmp_path)} | settings).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        return CliRunner().invoke(app, arguments)

    yield run
    get_settings.cache_clear()


def migrated(home: Path, **settings: object) -> Services:
    services = Services(Settings(home=home, **settings))  # type: ignore[arg-type]
    make_tables(services.database)
    return services


def test_a_key_is_made_shown_once_listed_and_revoked(facet: Facet, tmp_path: Path) -> None:
    made = facet("keys", "create", "--name", "ada", "--scope", "submit")
    key = made.stdout.strip()
    assert made.exit_code == 0 and "this once" in made.stderr and key not in made.stderr
    services = Services(Settings(home=tmp_path))
    principal = services.keys.authenticate(key)
    assert principal and (principal.owner, principal.scope) == ("ada", KeyScope.SUBMIT)
    assert (tmp_path / "link-secret").exists()
    assert "is taken" in facet("keys", "create", "--name", "ada", "--scope", "read").stderr
    assert facet("keys", "create", "--name", "a/b", "--scope", "read").exit_code == 1
    listed = facet("keys", "list").stdout
    assert "ada" in listed and "submit" in listed and key not in listed
    assert facet("keys", "revoke", "ada").exit_code == 0
    assert services.keys.authenticate(key) is None
    assert "no key bob" in facet("keys", "revoke", "bob").stderr


def test_without_a_key_the_api_is_not_opened(facet: Facet, tmp_path: Path) -> None:
    migrated(tmp_path)
    refused = facet("api", FACET_HOST="0.0.0.0", FACET_PORT=str(free_port()))
    assert_refused(refused.exit_code, refused.stderr)


def test_without_a_key_the_stack_is_not_opened(tmp_path: Path) -> None:
    stack = new_stack(tmp_path / "home", FACET_HOST="0.0.0.0")
    refused = subprocess.run(
        [*stack.command, "up"], env=stack.environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert_refused(refused.returncode, refused.stderr)
    assert stack.processes() == []


def assert_refused(status: int, said: str) -> None:
    assert status == 1 and "Traceback" not in said
    for fix in ("facet keys create", "FACET_API_KEYS", "FACET_HOST=127.0.0.1"):
        assert fix in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "facet.example"])
def test_what_makes_another_address_safe(host: str, tmp_path: Path) -> None:
    services = migrated(tmp_path, host=host)
    with pytest.raises(NotSafe):
        check_access(services.settings)
    assert check_access(Settings(home=tmp_path, host=host, api_keys=KEY))  # type: ignore[arg-type]
    services.keys.create("ada", KeyScope.READ)
    assert check_access(services.settings)
    services.keys.revoke("ada")
    assert check_access(services.settings), "it answers everyone with 401 then"


def test_on_loopback_no_key_is_needed_and_none_is_found_necessary(tmp_path: Path) -> None:
    assert check_access(migrated(tmp_path).settings) is False
    assert not (tmp_path / "link-secret").exists()


def test_with_keys_and_a_shared_database_the_links_secret_is_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    settings = migrated(tmp_path, database_url=url, api_keys=KEY).settings
    with pytest.raises(NotSafe, match="FACET_LINK_SECRET"):
        check_access(settings)
    assert check_access(settings.model_copy(update={"link_secret": Settings(link_secret="s" * 32).link_secret}))  # type: ignore[arg-type]


def test_a_database_that_is_away_opens_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0", database_url="postgresql+psycopg2://x@127.0.0.1:1/x")
    with pytest.raises(NotSafe, match="does not answer"):
        check_access(settings)


def test_with_keys_callbacks_do_not_reach_loopback_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACET_OUTBOUND_ALLOW", raising=False)
    assert "FACET_OUTBOUND_ALLOW" not in _environment(Settings(), tmp_path, keys=True)


def test_the_prefect_servers_password_is_told_to_its_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:pass:word")
    assert _environment(Settings(), tmp_path)["PREFECT_API_AUTH_STRING"] == "admin:pass:word"
