"""The command line: `facet`."""

import typer

from cli import access, demo, doctor, images, reprocess, services, stack

app = typer.Typer(
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
app.command()(services.api)
app.command()(services.worker)
app.command()(services.prefect_server)
app.command()(services.deploy)
db = typer.Typer(no_args_is_help=True, help="The application's database.")
db.command("upgrade")(services.db_upgrade)
app.add_typer(db, name="db")
app.add_typer(access.keys, name="keys")

if __name__ == "__main__":
    app()
