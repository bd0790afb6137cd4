#!/usr/bin/env bash
# Guess: a deployment's concurrency slot is freed when the lease of the flow run that holds it ends, whatever dies.
# Truth: so it is while the server lives. The leases are kept in the server's memory by default, and the taken slot in
#   its database: after a restart nobody remembers the lease, and the slot stays taken until someone ends the dead run.
#   With the collision strategy CANCEL_NEW every later run is Cancelled meanwhile.
# Date: 2026-11-30. Why it matters: a power cut during a scheduled run of such a deployment ends the schedule for good,
#   and silently: Cancelled is no failure. (PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE can name a durable store.)
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
export PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION=30
start
cat >"$folder/slot.py" <<'PYTHON'
import sys
import time

import prefect
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.states import Pending


@flow
def hourly():
    pass


def propose(name):
    """The state that a new run of the deployment gets when a worker would take it."""
    run = client.create_flow_run_from_deployment(client.read_deployment_by_name(f"hourly/{name}").id)
    client.set_flow_run_state(run.id, Pending())
    return client.read_flow_run(run.id).state.name


with get_client(sync_client=True) as client:
    name, act = sys.argv[1:]
    if act == "take":
        client.create_deployment(
            flow_id=client.create_flow(hourly),
            name=name,
            concurrency_limit=1,
            concurrency_options={"collision_strategy": "CANCEL_NEW"},
        )
        state = propose(name)
        print(f"{name}: the first run is {state}, and its worker dies here")
        assert state == "Pending", state
    else:
        until, states = time.monotonic() + 150, []
        while (not states or states[-1] == "Cancelled") and time.monotonic() < until:
            time.sleep(10)
            states.append(propose(name))
        print(f"Prefect {prefect.__version__}, {name}: later runs are {', '.join(states)}")
        assert states[-1] == act, states
PYTHON
"$folder/venv/bin/python" "$folder/slot.py" server-lives take
"$folder/venv/bin/python" "$folder/slot.py" server-lives Pending
"$folder/venv/bin/python" "$folder/slot.py" server-restarts take
kill -9 "$server"
start
"$folder/venv/bin/python" "$folder/slot.py" server-restarts Cancelled
echo "as described"
