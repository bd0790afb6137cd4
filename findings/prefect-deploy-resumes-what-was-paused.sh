#!/usr/bin/env bash
# Guess: `prefect deploy` of an unchanged prefect.yaml changes nothing on the server.
# Truth: it sets every deployment to not paused, replaces the tags and job variables that were set in the UI, and turns
#   on each schedule that was turned off, with a `slug` or without.
# Date: 2026-11-30. Why it matters: a deploy step at each start resumes a service that was paused on purpose.
set -euo pipefail
folder=$(mktemp -d)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check prefect==3.9.1
export PREFECT_HOME="$folder/prefect" PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 NO_PROXY=127.0.0.1
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_API_URL="http://127.0.0.1:$port/api"
start() {
  "$folder/venv/bin/prefect" server start --host 127.0.0.1 --port "$port" >>"$folder/server.log" 2>&1 &
  server=$!
  for _ in $(seq 240); do
    if "$folder/venv/bin/python" -c "import urllib.request as u; u.urlopen('$PREFECT_API_URL/health', timeout=2)" 2>/dev/null; then return; fi
    sleep 0.5
  done
  tail "$folder/server.log"; exit 1
}
trap 'kill -9 "${server:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
start
mkdir "$folder/project" && cd "$folder/project"
echo 'from prefect import flow

@flow
def photo():
    pass' >photo.py
echo "name: project
deployments:
  - name: photo
    entrypoint: photo.py:photo
    tags: [file]
    work_pool: {name: pool}
    schedules:
      - interval: 3600
      - {interval: 7200, slug: kept}" >prefect.yaml
"$folder/venv/bin/prefect" work-pool create pool --type process >/dev/null
"$folder/venv/bin/prefect" --no-prompt deploy --all >/dev/null 2>&1
look() { "$folder/venv/bin/python" - "$@" <<'PYTHON'
import sys

import prefect
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate

with get_client(sync_client=True) as client:
    deployment = client.read_deployment_by_name("photo/photo")
    if sys.argv[1] == "set":
        update = DeploymentUpdate(paused=True, tags=["file", "operator"], job_variables={"env": {"A": "b"}})
        client.update_deployment(deployment.id, update)
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False)
        deployment = client.read_deployment_by_name("photo/photo")
    schedules = {schedule.slug or "without a slug": schedule.active for schedule in deployment.schedules}
    found = (deployment.paused, deployment.tags, bool(deployment.job_variables), schedules)
    print("Prefect", prefect.__version__, sys.argv[1], "paused, tags, job variables, schedules' activity:", found)
    expected = {
        "set": (True, ["file", "operator"], True, {"without a slug": False, "kept": False}),
        "again": (False, ["file"], False, {"without a slug": True, "kept": True}),
    }[sys.argv[1]]
    assert found == expected, expected
PYTHON
}
look set
"$folder/venv/bin/prefect" --no-prompt deploy --all >/dev/null 2>&1
look again
echo "as described"
