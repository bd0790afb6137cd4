#!/usr/bin/env bash
# Guess: supervisord starts its programs at once when it is started itself.
# Truth: it first waits a whole second in its main loop for something to be readable, of which there is nothing yet, and
#   starts the programs after that, however many there are. No setting shortens it.
# Date: 2026-11-30. Why it matters: a command that brings a stack up under supervisord for a short task has this second in
#   every start; whoever measures a start should not look for it in their own programs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check supervisor==4.3.0 "setuptools<81"
cat > "$folder/supervisord.conf" <<CONF
[supervisord]
nodaemon=true
logfile=$folder/supervisord.log
pidfile=$folder/supervisord.pid
[program:first]
command=/bin/sleep 30
CONF
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import re
import subprocess
import sys
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
print("supervisor", version("supervisor"))
for _ in range(3):
    (folder / "supervisord.log").unlink(missing_ok=True)
    supervisord = subprocess.Popen(
        [folder / "venv/bin/supervisord", "-c", folder / "supervisord.conf"], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            time.sleep(0.1)
            log = (folder / "supervisord.log").read_text() if (folder / "supervisord.log").exists() else ""
            if "spawned" in log:
                break
    finally:
        supervisord.terminate()
        supervisord.wait(30)
    started, spawned = (
        datetime.strptime(re.search(rf"^(\S+ \S+) INFO {words}", log, re.M)[1], "%Y-%m-%d %H:%M:%S,%f")
        for words in ("supervisord started", "spawned")
    )
    waited = (spawned - started).total_seconds()
    print(f"between its own start and that of its first program: {waited:.3f} s")
    assert 0.9 < waited < 5, waited
PYTHON
echo "as described"
