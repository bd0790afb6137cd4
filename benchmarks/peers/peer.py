"""The predecessor's design, running: PostgreSQL, Redis and S3 are given, the rest are its own processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.service.parts import ROOT, Parts, Target
from tests.support.processes import answers, free_port, wait_for

_LOCK = Path(__file__).parent / "requirements.lock"
_MODULE = "benchmarks.peers.predecessor"


def install(folder: Path) -> Path:
    """A virtual environment with what the predecessor needs; its Python."""
    uv, python = Path(sys.executable).with_name("uv"), folder / "bin" / "python"
    for command in (
        [uv, "venv", "-q", folder],
        [uv, "pip", "install", "-q", "--python", python, "--compile-bytecode", "--require-hashes", "-r", _LOCK],
    ):
        subprocess.run([str(part) for part in command], check=True, timeout=600)
    return python


@contextmanager
def peer(
    home: Path, *, python: Path, warm: bool, slots: int, environment: dict[str, str], cwd: Path = ROOT
) -> Iterator[Target]:
    """A web process and a Celery worker of `slots` children, with the model `warm` or built for every task."""
    home.mkdir(parents=True)
    port = free_port()
    if warm:
        environment = environment | {"PEER_WARM": "1"}
    worker = [str(python), "-m", "celery", "-A", f"{_MODULE}:celery", "worker", "-c", str(slots), "-l", "WARNING"]
    with Parts(home, environment, cwd) as parts:
        parts.do([str(python), "-m", _MODULE])
        web = [str(python), "-m", "uvicorn", f"{_MODULE}:app", "--port", str(port), "--log-level", "warning"]
        parts.start("web", web)
        parts.start("worker", worker)
        wait_for(lambda: answers(port), 60, "the web process answers")
        yield Target(f"http://127.0.0.1:{port}", parts, worker)
