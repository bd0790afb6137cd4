"""Prefect's SQLite as its migrations leave it: much of a server's start, done once and kept for each version."""

import fcntl
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

_KEPT = Path(__file__).parents[2] / ".pytest_cache" / f"prefect-{version('prefect')}.db"


def migrate_prefect(home: Path) -> None:
    """Let the Prefect server of this PREFECT_HOME begin with its tables made, unless it has them."""
    home.mkdir(parents=True, exist_ok=True)
    database = home / "prefect.db"
    if not database.exists():
        database.write_bytes(_migrated())


def _migrated() -> bytes:
    _KEPT.parent.mkdir(exist_ok=True)
    with _KEPT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _KEPT.exists():
            _migrate(_KEPT)
    return _KEPT.read_bytes()


def _migrate(kept: Path) -> None:
    with TemporaryDirectory(dir=kept.parent) as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
            env=environment | {"PREFECT_HOME": home, "DO_NOT_TRACK": "1"},
            check=True,
            capture_output=True,
            timeout=120,
        )
        (Path(home) / "prefect.db").rename(kept)
