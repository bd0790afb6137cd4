"""`facet doctor`: look at every part that the service needs, and say how to mend what is wrong."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Annotated

import httpx
import typer
from pydantic import ValidationError
from sqlalchemy import text

from cli.doctor_prefect import PrefectExamination
from cli.faults import Faulty
from cli.processes import api_url, find_prefect
from facet.errors import Unavailable
from facet.persistence.database import Database
from facet.settings import Settings, get_settings, wrong_settings

_CLOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One part: `detail` says how it is, `fix` how to mend it."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each check.")] = False,
) -> None:
    """Check database, store, Prefect, work pool, worker, maintenance, clocks; exit status 1 if something is wrong."""
    checks = examine()
    for check in checks:
        if as_json:
            typer.echo(json.dumps(asdict(check)))
            continue
        mark, colour = ("ok", "green") if check.ok else ("FAULT", "red")
        typer.echo(f"{typer.style(f'{mark:5}', fg=colour)}  {check.name:12}  {check.detail}")
        if check.fix:
            typer.echo(f"{'':21}→ {check.fix}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def examine() -> list[Check]:
    """All checks, in the order in which to mend them."""
    try:
        settings = get_settings()
    except ValidationError as error:
        return [
            Check("settings", False, f"{variable or 'Two settings'}: {message}.", f"Mend {variable or 'them'}.")
            for variable, message in wrong_settings(error)
        ]
    find_prefect(settings)
    prefect = PrefectExamination(os.environ["PREFECT_API_URL"].rstrip("/"), settings)
    database = Database(settings.sqlalchemy_url)
    parts: dict[str, Callable[[], str]] = {
        "versions": _versions,
        "database": lambda: _database(database),
        "migrations": lambda: _migrations(database),
        "store": lambda: _store(settings),
        "detector": lambda: _detector(settings),
        "Prefect": prefect.server,
        "work pool": prefect.work_pool,
        "deployments": prefect.deployments,
        "flow runs": prefect.flow_runs,
        "worker": prefect.worker,
        "maintenance": lambda: _maintenance(database, settings),
        "clock": lambda: _clock(database, prefect),
        "API": lambda: _api(settings),
    }
    checks = []
    for name, look in parts.items():
        try:
            checks.append(Check(name, True, look()))
        except Faulty as fault:
            checks.append(Check(name, False, str(fault), fault.fix))
        except Exception as error:
            checks.append(Check(name, False, f"{type(error).__name__}: {error}", "Mend what was checked before it."))
    prefect.close()
    database.close()
    return checks


def _versions() -> str:
    python = platform.python_version()
    if not (3, 11) <= tuple(map(int, platform.python_version_tuple()[:2])) <= (3, 13):
        raise Faulty(f"Python {python} is not supported.", "Use Python 3.11, 3.12 or 3.13.")
    return f"Facet {version('facet')}, Prefect {version('prefect')}, Python {python}"


def _database(database: Database) -> str:
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
        if not database.missing_migrations():  # they are looked for next
            database.check()
    except Exception as error:
        cause = error.__cause__ or error
        raise Faulty(
            f"{database.engine.url!r}: {str(cause).splitlines()[0]}",
            "Start the database, let its user write, or mend FACET_DATABASE_URL or FACET_HOME.",
        ) from error
    return repr(database.engine.url)


def _migrations(database: Database) -> str:
    present, head = database.revisions()
    if present != head:
        raise Faulty(f"The tables are of revision {present or 'none'}, and should be of {head}.", "facet db upgrade")
    return f"revision {head}"


def _store(settings: Settings) -> str:
    from facet.storage import open_store

    if settings.store == "folder":
        where, fix = str(settings.objects_folder), "Make FACET_HOME a folder that this user can write to."
    else:
        where = f"{settings.s3_endpoint}/{settings.s3_bucket}"
        fix = (
            "Start the S3 server, or mend FACET_S3_ENDPOINT, FACET_S3_ACCESS_KEY, FACET_S3_SECRET_KEY, "
            "FACET_S3_SECURE; docs/production.md lists the rights that its user needs."
        )
    try:
        open_store(settings).check()
    except (Unavailable, OSError) as error:
        raise Faulty(f"{where}: {error}", fix) from error
    return where


def _detector(settings: Settings) -> str:
    from facet.detector import DETECTORS, create_detector
    from facet.detector.mtcnn_models import ModelError

    try:
        made = create_detector(settings.detector, threads=settings.detector_threads)
    except ModelError as error:
        raise Faulty(str(error), "Install Facet anew: its own files are not as they were.") from error
    except (ValueError, ImportError) as error:
        raise Faulty(str(error), f"Set FACET_DETECTOR to one of: {', '.join(DETECTORS)}.") from error
    return f"{made.name} {made.version}"


def _maintenance(database: Database, settings: Settings) -> str:
    from facet.persistence.maintenance_completion import Completion

    age = Completion(database, settings).age()
    if age.complaint:
        raise Faulty(
            age.complaint,
            "See its runs in the Prefect UI: a worker must be there, and deployment and schedule not be paused.",
        )
    return f"completed, or first expected, {age.seconds / 60:.0f} min ago"


def _clock(database: Database, prefect: PrefectExamination) -> str:
    """Leases go by the database's clock; Prefect's schedules and tokens by the machines'."""
    with database.read() as session:
        apart = {"the database's": (database.now(session) - datetime.now(UTC)).total_seconds()}
    apart["Prefect's"] = (parsedate_to_datetime(prefect.date()) - datetime.now(UTC)).total_seconds()
    wrong = [
        f"{whose} clock is {seconds:+.0f} s from this one"
        for whose, seconds in apart.items()
        if abs(seconds) > _CLOCK_SECONDS
    ]
    if wrong:
        raise Faulty(f"{'; '.join(wrong)}.", "Let all machines take their time from one source (NTP).")
    return "this machine, the database and Prefect agree"


def _api(settings: Settings) -> str:
    """On this machine where it runs here: whether clients reach its public URL cannot be told from here."""
    asked, url = api_url(settings), settings.base_url
    fix = "Start it with facet up or facet api, or mend FACET_HOST, FACET_PORT and FACET_PUBLIC_URL."
    try:
        answer = httpx.get(f"{asked}/readyz", timeout=10).json()
    except (httpx.HTTPError, ValueError) as error:
        here = "" if asked == settings.local_url else f"Nothing listens at {settings.local_url}, and "
        raise Faulty(f"{here}{asked} does not answer: {error!r}", fix) from error
    if answer.get("status") != "ok":
        down = {name: part["detail"] for name, part in answer.get("parts", {}).items() if part["status"] != "ok"}
        raise Faulty(f"{asked} is {answer.get('status')}: {down}", "Mend what was found before; it follows.")
    return asked if asked == url else f"{asked}, for clients {url}"
