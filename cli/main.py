"""The command line: `facet`."""

from typing import Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from cli import demo, doctor, images, keys, processes, reprocess, stack
from cli.output import fail
from facet.errors import Unavailable
from facet.settings import Settings, wrong_settings


class Commands(TyperGroup):
    """Ends a command that meets a wrong setting, or a part that does not answer, with what to mend."""

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


def _detail(error: Unavailable) -> str:
    """The first line of its cause, which says more than senders are told."""
    lines = str(error.__cause__ or "").strip().splitlines()
    return f" ({lines[0]})" if lines and lines[0] not in str(error) else ""


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Face detection as a service: REST in, Prefect flow runs, callbacks out.",
)
app.command()(stack.up)
app.command()(demo.demo)
app.command()(images.submit)
app.command()(images.status)
app.command()(images.result)
app.command()(images.deliveries)
app.command()(reprocess.reprocess)
app.add_typer(reprocess.reprocessings, name="reprocessings")
app.command()(doctor.doctor)
app.command()(processes.api)
app.command()(processes.worker)
app.command()(processes.prefect_server)
app.command()(processes.deploy)
db = typer.Typer(no_args_is_help=True, help="The application's database.")
db.command("upgrade")(processes.db_upgrade)
app.add_typer(db, name="db")
app.add_typer(keys.keys, name="keys")

if __name__ == "__main__":
    app()
