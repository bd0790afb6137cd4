"""Prefect's SQLite as its migrations leave it: much of a server's start, done once for all tests of a process."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


def migrate_prefect(home: Path) -> None:
    """Let the Prefect server of this PREFECT_HOME begin with its tables made, unless it has them."""
    home.mkdir(parents=True, exist_ok=True)
    database = home / "prefect.db"
    if not database.exists():
        database.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
            env=environment | {"PREFECT_HOME": home, "DO_NOT_TRACK": "1"},
            check=True,
            capture_output=True,
            timeout=120,
        )
        return (Path(home) / "prefect.db").read_bytes()
