"""Where there is no Docker engine, `make test-stack` says so."""

import os
import subprocess
import sys
from pathlib import Path

from tests.stack.engine import ROOT


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.stack"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "needs a Docker engine" in done.stderr and "no `docker` command" in done.stderr


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:/bin:/usr/bin", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.stack"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Cannot connect to the Docker daemon" in done.stderr
