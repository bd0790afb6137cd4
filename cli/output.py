"""What commands say."""

import typer


def fail(message: str) -> int:
    """Say what is wrong where errors belong; returns the exit status for it."""
    typer.secho(message, fg="red", err=True)
    return 1
