"""The command line: `facet`."""

from importlib import import_module
from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from cli.output import fail
from facet.errors import Unavailable
from facet.settings import Settings, wrong_settings

_PLACES = {
    "up": "cli.stack:up",
    "demo": "cli.demo:demo",
    "submit": "cli.images:submit",
    "status": "cli.images:status",
    "result": "cli.images:result",
    "deliveries": "cli.images:deliveries",
    "reprocess": "cli.reprocess:reprocess",
    "doctor": "cli.doctor:doctor",
    "api": "cli.processes:api",
    "worker": "cli.processes:worker",
    "prefect-server": "cli.processes:prefect_server",
    "deploy": "cli.processes:deploy",
    "reprocessings": "cli.reprocess:reprocessings",
    "db": "cli.processes:db",
    "keys": "cli.keys:keys",
}
"""Each command's function, or the app of its own commands. A process loads that of its own command alone."""


class Commands(TyperGroup):
    """Ends a command that meets a wrong setting, or a part that does not answer, with what to mend."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_PLACES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in _PLACES:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            if error.title != Settings.__name__:
                raise
            for variable, message in wrong_settings(error):
                fail(f"{variable}: {message}." if variable else f"{message}.")
        except Unavailable as error:
            fail(f"{error}{_detail(error)} `facet doctor` looks at every part.")
        except OSError as error:
            if error.filename is None:
                raise
            fail(f"{error.filename}: {error.strerror}. See FACET_HOME, and the rights of this user.")
        raise typer.Exit(1)


def _load(name: str) -> Any:
    module, _, attribute = _PLACES[name].partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


def _detail(error: Unavailable) -> str:
    """The first line of its cause, which says more than senders are told."""
    lines = str(error.__cause__ or "").strip().splitlines()
    return f" ({lines[0]})" if lines and lines[0] not in str(error) else ""


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback()
def facet() -> None:
    """Face detection as a service: REST in, Prefect flow runs, callbacks out."""


if __name__ == "__main__":
    app()
