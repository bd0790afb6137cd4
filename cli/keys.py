"""`facet keys`: the API's keys."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.output import fail
from facet.access.api_keys import ApiKeys, NameTaken
from facet.access.signed_links import Links
from facet.persistence.database import Database
from facet.principals import OWNER, KeyScope
from facet.settings import get_settings

keys = typer.Typer(no_args_is_help=True, add_completion=False, help="The API's keys.")


@keys.command("create")
def create(
    name: Annotated[str, typer.Option(help="The key's name, by which it is revoked.")],
    scope: Annotated[KeyScope, typer.Option(help="What it may do.")],
    owner: Annotated[str | None, typer.Option(help="Whose images it sees. Default: its own, under its name.")] = None,
) -> None:
    """Make an API key and print it, this once: only its hash is kept."""
    for word in (name, owner or name):
        if not OWNER.fullmatch(word):
            raise typer.Exit(fail(f"{word!r}: names have up to 100 letters, digits, dots, dashes and underscores."))
    settings, store = get_settings(), _keys()
    try:
        key = store.create(name, scope, owner)
    except NameTaken as error:
        fix = "Choose another; give --owner for one more key of the same owner."
        raise typer.Exit(fail(f"The name {name} is taken, perhaps by a revoked key. {fix}")) from error
    if not Links(settings).ensure_secret():
        typer.secho(
            "Set FACET_LINK_SECRET for the API and the workers: it is required with keys.", fg="yellow", err=True
        )
    typer.echo("It is shown this once. Send it as `Authorization: Bearer <key>`.", err=True)
    typer.echo(key)


@keys.command("list")
def list_keys() -> None:
    """The keys that were made, revoked ones too; those of FACET_API_KEYS are not among them."""
    table = Table("name", "scope", "owner", "created", "revoked", box=None)
    for row in _keys().all():
        revoked = f"{row.revoked_at:%Y-%m-%d %H:%M}" if row.revoked_at else ""
        table.add_row(row.name, row.scope, row.owner, f"{row.created_at:%Y-%m-%d %H:%M}", revoked)
    Console().print(table)


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="The key's name.")]) -> None:
    """Stop a key for good, at once and in every process."""
    if not _keys().revoke(name):
        raise typer.Exit(
            fail(f"There is no key {name}; `facet keys list` shows all. FACET_API_KEYS is changed by hand.")
        )
    typer.echo(f"The key {name} is revoked.", err=True)


def _keys() -> ApiKeys:
    """On a migrated database: of the embedded stack's own, the first key may come before its first start."""
    settings = get_settings()
    database = Database(settings.sqlalchemy_url)
    if settings.database_url is None:
        database.upgrade()
    return ApiKeys(database, settings)
