#!/usr/bin/env bash
# Guess: a flow run that waits in a work queue which somebody deletes is taken again when a queue of that name is made,
#   or when its deployment is deployed again; or it ends.
# Truth: it stays Scheduled (soon Late) for ever. Its work_queue_id is null, the new queue of the same name does not know
#   it, and no worker gets it. Only the runs that are made later are taken.
# Date: 2026-11-30. Why it matters: who counts "Scheduled" as "on its way" waits for ever; a Scheduled run of a work pool
#   that has no work queue is a lost one.
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
import prefect
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate


@flow
def photo():
    pass


with get_client(sync_client=True) as client:
    client.create_work_pool(WorkPoolCreate(name="pool", type="process"))

    def deploy():
        arguments = {"work_pool_name": "pool", "work_queue_name": "urgent"}
        return client.create_deployment(flow_id=client.create_flow(photo), name="photo", **arguments)

    def offered():
        return {each.flow_run.id for each in client.get_scheduled_flow_runs_for_work_pool("pool")}

    first = client.create_work_queue("urgent", work_pool_name="pool")
    run = client.create_flow_run_from_deployment(deploy())
    assert run.id in offered()
    client.delete_work_queue_by_id(first.id)
    client.create_work_queue("urgent", work_pool_name="pool")
    later = client.create_flow_run_from_deployment(deploy())
    stranded = client.read_flow_run(run.id)
    print("Prefect", prefect.__version__)
    print("the run that waited:", stranded.state.type.value, "work_queue_id", stranded.work_queue_id)
    print("workers are offered it:", run.id in offered(), "and a later one:", later.id in offered())
    assert stranded.state.type.value == "SCHEDULED" and stranded.work_queue_id is None
    assert run.id not in offered() and later.id in offered()
PYTHON
echo "as described"
