"""Commands that are the service's processes and their set-up. Each imports its own part alone, to start quickly."""

import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.output import fail
from facet.loading import loading
from facet.local import listens, spare_proxies
from facet.settings import Settings, get_settings

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%f"
EMBEDDED_HEARTBEAT = "30"
"""Seconds between the heartbeats of flow runs in the embedded stack."""

_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def api() -> None:
    """Serve the API, with its dispatcher."""
    settings = get_settings()
    find_prefect(settings)

    from cli.safety import NotSafe, check_access

    await_schema(settings, settings.start_seconds)
    try:
        check_access(settings)
    except NotSafe as error:
        raise typer.Exit(fail(str(error))) from error

    logging.basicConfig(level="WARNING", format=_LOG_FORMAT)
    with loading():
        import uvicorn

        from api.app import create_app

        app = create_app()
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, log_config=None)


def worker(
    pool: Annotated[str | None, typer.Option(help="Work pool to serve. Default: FACET_WORK_POOL.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Runs at a time. Default: FACET_WORKER_SLOTS.")] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            help="Seconds to wait for the migrations, Prefect and the deployment. Default: FACET_START_SECONDS."
        ),
    ] = None,
    stock: Annotated[bool, typer.Option("--stock", help="Prefect's own worker: a new process for each run.")] = False,
) -> None:
    """Run flow runs of the work pool, in processes that are kept warm."""
    settings = get_settings()
    find_prefect(settings)
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", "0.5" if stock else "3")  # warm: events tell

    with loading():
        from deployments.prefect.deploy import DeployFailed, await_deployment

    seconds = settings.start_seconds if wait is None else wait
    await_schema(settings, seconds)
    try:
        await_deployment(seconds)
    except DeployFailed as error:
        raise typer.Exit(fail(str(error))) from error
    name, limit = pool or settings.work_pool, slots or settings.worker_slots
    if stock:
        arguments = ["worker", "start", "--pool", name, "--type", "process", "--limit", str(limit)]
        os.execv(sys.executable, [sys.executable, "-m", "prefect", *arguments])
    with loading():
        from deployments.worker.serve import serve

    serve(name, limit, settings)


def deploy(
    alert_webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="POST each failed flow run there: makes a webhook block.")
    ] = None,
    alert_block: Annotated[
        str | None,
        typer.Option(metavar="TYPE/NAME", help="Tell of failed flow runs by this block, such as sendgrid-email/ops."),
    ] = None,
    docker_image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Make a docker work pool, with a container of it for each run.")
    ] = None,
    docker_network: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK", help="A network of those containers; may be repeated.")
    ] = None,
    docker_secrets: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The host's folder of the secrets that they need.")
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for Prefect to answer.")] = 0,
    runs_ended_before: Annotated[
        datetime | None,
        typer.Option(help="No run of before then (UTC) is alive: end them.", formats=[TIME_FORMAT], hidden=True),
    ] = None,
) -> None:
    """Make in Prefect the work pool, its queues, the deployments and the automations; what people changed stays."""
    settings = get_settings()
    find_prefect(settings)

    with loading():
        from deployments.prefect.deploy import DeployFailed
        from deployments.prefect.deploy import deploy as make
        from deployments.prefect.docker_pool import DockerPool

    docker = DockerPool(docker_image, docker_network or [], docker_secrets) if docker_image else None
    try:
        said = make(
            settings,
            alert_webhook=alert_webhook,
            alert_block=alert_block,
            docker=docker,
            wait=wait,
            runs_ended_before=runs_ended_before and runs_ended_before.replace(tzinfo=UTC),
        )
    except DeployFailed as error:
        raise typer.Exit(fail(str(error))) from error
    typer.echo("\n".join(said) or "Nothing has changed.")


def prefect_server() -> None:
    """Serve Prefect's API and UI on SQLite, as `facet up` does."""
    settings = get_settings()
    find_prefect(settings)

    with loading():
        from deployments.prefect.server import serve

    serve("127.0.0.1", settings.prefect_port)


db = typer.Typer(no_args_is_help=True, add_completion=False)


@db.callback()
def _database() -> None:
    """The application's database."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Apply all migrations to the application's database."""
    from facet.persistence.database import Database

    Database(get_settings().sqlalchemy_url).upgrade()


def await_schema(settings: Settings, seconds: float) -> None:
    """Wait until the database has at least this version's migrations; a later version's do no harm.

    So a new release may be started before or after `facet db upgrade`. A database that does not answer is not waited
    for: what is asked meanwhile is answered so, or tried again.
    """
    from facet.errors import Unavailable
    from facet.persistence.database import Database

    if settings.database_url is None:  # the embedded stack's own, which `facet up` migrates
        return
    database = Database(settings.sqlalchemy_url)
    until, said = time.monotonic() + seconds, ""
    try:
        while missing := database.missing_migrations():
            lack = f"The database lacks the migrations {', '.join(missing)}: run `facet db upgrade`."
            if time.monotonic() > until:
                raise typer.Exit(fail(f"{lack} They were waited for {seconds:g} s."))
            if said != (said := lack):
                typer.echo(f"Waiting. {lack}", err=True)
            time.sleep(1)
    except Unavailable:
        return
    finally:
        database.close()


def find_prefect(settings: Settings) -> None:
    """Before Prefect is imported: without an address it would start a server of its own.

    Prefect's client obeys the environment's proxies, and a local server is asked through none.
    """
    spare_proxies(settings.host)
    if "PREFECT_API_URL" not in os.environ:  # the embedded stack's
        os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", EMBEDDED_HEARTBEAT)
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{settings.prefect_port}/api"
    os.environ.setdefault("DO_NOT_TRACK", "1")


def api_url(settings: Settings) -> str:
    """Where a command asks the API: on this machine where it runs here, else where its clients reach it."""
    spare_proxies(settings.host)
    return settings.local_url if listens(settings.host, settings.port) else settings.base_url
