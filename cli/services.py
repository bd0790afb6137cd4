"""Commands that are the service's processes and their set-up. Each imports its own part alone, to start quickly."""

import logging
import os
import sys
from typing import Annotated

import typer

from facet.settings import Settings, get_settings

_LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def api() -> None:
    """Serve the API, with its dispatcher."""
    settings = get_settings()
    find_prefect(settings)

    from cli.access import NotSafe, check_access

    try:
        check_access(settings)
    except NotSafe as error:
        raise typer.Exit(fail(str(error))) from error

    import uvicorn

    from api.app import create_app

    logging.basicConfig(level="WARNING", format=_LOG_FORMAT)
    uvicorn.run(create_app(), host=settings.host, port=settings.port, access_log=False, log_config=None)


def worker(
    pool: Annotated[str | None, typer.Option(help="Work pool to serve. Default: FACET_WORK_POOL.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Runs at a time. Default: FACET_WORKER_SLOTS.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for Prefect and the deployment.")] = 120,
    stock: Annotated[bool, typer.Option("--stock", help="Prefect's own worker: a new process for each run.")] = False,
) -> None:
    """Run flow runs of the work pool, in processes that are kept warm."""
    settings = get_settings()
    find_prefect(settings)
    os.environ.setdefault("PREFECT_WORKER_QUERY_SECONDS", "0.5")

    from deployments.deploy import DeployFailed, await_deployment

    try:
        await_deployment(wait)
    except DeployFailed as error:
        raise typer.Exit(fail(str(error))) from error
    name, limit = pool or settings.work_pool, slots or settings.worker_slots
    if stock:
        arguments = ["worker", "start", "--pool", name, "--type", "process", "--limit", str(limit)]
        os.execv(sys.executable, [sys.executable, "-m", "prefect", *arguments])
    from deployments.warm_worker.serve import serve

    serve(name, limit, settings)


def deploy(
    alert_webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="POST each failed flow run there: makes a webhook block.")
    ] = None,
    alert_block: Annotated[
        str | None,
        typer.Option(metavar="TYPE/NAME", help="Tell of failed flow runs by this block, such as sendgrid-email/ops."),
    ] = None,
) -> None:
    """Make in Prefect the work pool, its queues, the deployments and the automations; repeating it is safe."""
    settings = get_settings()
    find_prefect(settings)

    from deployments.deploy import DeployFailed
    from deployments.deploy import deploy as make

    try:
        make(settings, alert_webhook=alert_webhook, alert_block=alert_block)
    except DeployFailed as error:
        raise typer.Exit(fail(str(error))) from error


def prefect_server() -> None:
    """Serve Prefect's API and UI on SQLite, as `facet up` does."""
    settings = get_settings()
    find_prefect(settings)

    from deployments.prefect_server import serve

    serve("127.0.0.1", settings.prefect_port)


def db_upgrade() -> None:
    """Apply all migrations to the application's database."""
    from facet.database import Database
    from facet.errors import Unavailable

    try:
        Database(get_settings().sqlalchemy_url).upgrade()
    except Unavailable as error:
        raise typer.Exit(fail(str(error))) from error


def find_prefect(settings: Settings) -> None:
    """Before Prefect is imported: without an address it would start a server of its own."""
    os.environ.setdefault("PREFECT_API_URL", f"http://127.0.0.1:{settings.prefect_port}/api")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def fail(message: str) -> int:
    """Say what is wrong where errors belong; returns the exit status for it."""
    typer.secho(message, fg="red", err=True)
    return 1
