#!/usr/bin/env bash
# Guess: whatever version of its dependency `whenever` pip or a lock file has, Prefect 3.9.1's cron schedules make runs.
# Truth: with whenever 0.10, which Prefect's requirements allow, cron raises ValueError on Python 3.11 and 3.12: Prefect
#   has time zones of a class of its own there, and whenever 0.10 wants ZoneInfo exactly. Interval schedules go on, so
#   the server's log alone tells of it: no cron schedule makes a run. 0.11 takes them.
# Date: 2026-11-30. Why it matters: after an upgrade with an old lock file a nightly job simply never comes.
set -euo pipefail
for python in python3.12 python3.11; do "$python" --version >/dev/null 2>&1 && break; done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check prefect==3.9.1 whenever==0.10.5
export PREFECT_HOME="$folder/prefect"
cat >"$folder/dates.py" <<'PYTHON'
import asyncio
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule


def next_runs(schedule):
    try:
        return len(asyncio.run(schedule.get_dates(2, start=datetime(2026, 11, 30, tzinfo=timezone.utc))))
    except ValueError as error:
        return f"ValueError: {error}"


cron = next_runs(CronSchedule(cron="30 3 * * *", timezone="UTC"))
interval = next_runs(IntervalSchedule(interval=timedelta(hours=1)))
print("Python", sys.version.split()[0], "Prefect", version("prefect"), "whenever", version("whenever"))
print("runs of the cron schedule:", cron, "and of the interval:", interval)
refused = isinstance(cron, str) and cron.startswith("ValueError: tzinfo must be of type ZoneInfo")
assert refused == (sys.argv[1] == "refused") and interval == 2, (cron, interval)
PYTHON
"$folder/venv/bin/python" "$folder/dates.py" refused
"$folder/venv/bin/pip" install -q --disable-pip-version-check whenever==0.11.0
"$folder/venv/bin/python" "$folder/dates.py" taken
echo "as described"
