#!/usr/bin/env bash
# Guess: updating an automation to exactly what it is changes nothing.
# Truth: a proactive automation forgets every resource that it was watching: a flow run that was silent when the
#   automation was "updated" is never acted on. One that is left alone acts in time.
# Date: 2026-11-30. Why it matters: a deploy step that states its automations at each start switches off "crash the flow
#   runs whose heartbeats have stopped" for just those runs that the restart has killed. Compare before updating.
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
"$folder/venv/bin/python" - <<'PYTHON'
import time
from datetime import timedelta

import prefect
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.states import Running


@flow
def silent():
    pass


def automation(tag):
    return AutomationCore(
        name=f"crash what is silent: {tag}",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{tag}"}
            ),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.Running"},
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=20),
        ),
        actions=[ChangeFlowRunState(state="CRASHED", message="silent")],
    )


with get_client(sync_client=True) as client:
    automations = {tag: client.create_automation(automation(tag)) for tag in ("left-alone", "updated")}
    time.sleep(15)  # the server's triggers load new automations in the background
    runs = {}
    for tag in automations:
        runs[tag] = client.create_flow_run(silent, tags=[tag]).id
        client.set_flow_run_state(runs[tag], Running(), force=True)
    time.sleep(5)
    client.update_automation(automations["updated"], automation("updated"))
    names = {}
    until = time.monotonic() + 120
    while names.get("left-alone") != "Crashed" and time.monotonic() < until:
        time.sleep(1)
        names = {tag: client.read_flow_run(run).state.name for tag, run in runs.items()}
    time.sleep(30)
    names = {tag: client.read_flow_run(run).state.name for tag, run in runs.items()}
    print("Prefect", prefect.__version__)
    print("the silent flow runs:", names)
    assert names == {"left-alone": "Crashed", "updated": "Running"}, names
PYTHON
echo "as described"
