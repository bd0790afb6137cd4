"""Make in Prefect what the flows need: the work pool with its queues, the deployments of `prefect.yaml`, automations.

Repeating it changes what Facet has changed since, and nothing that people have.
"""

import hashlib
import json
import sys
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from deployments.prefect.alerts import NoSuchBlock, alert, make_webhook
from deployments.prefect.automations import make_automations
from deployments.prefect.control_runs import end_runs
from deployments.prefect.docker_pool import DockerPool
from deployments.prefect.last_deployed import Memory, read_memory, write_memory
from deployments.prefect.manifest import ROOT, BadManifest, read_manifest
from deployments.prefect.names import DETECT_DEPLOYMENT
from deployments.prefect.placement import remove_stranded
from deployments.prefect.registration import make_deployments
from deployments.prefect.work_pools import OtherPool, make_work_pool
from facet.settings import Settings


class DeployFailed(Exception):
    """Prefect did not take the work pool or the deployments."""


def deploy(
    settings: Settings,
    *,
    alert_webhook: str | None = None,
    alert_block: str | None = None,
    docker: DockerPool | None = None,
    wait: float = 0,
    runs_ended_before: datetime | None = None,
) -> list[str]:
    """Returns what was changed, in sentences. Raises DeployFailed with Prefect's own words.

    `wait`: seconds to wait for Prefect to answer. `runs_ended_before`: no flow run that began before then can be alive.
    Alerts that were asked for before stay as they are.
    """
    said: list[str] = []
    with get_client(sync_client=True) as client:
        try:
            _await_prefect(client, wait)
            if runs_ended_before:
                said += end_runs(client, settings.work_pool, runs_ended_before)
            former = read_memory(client)
            write_memory(client, former, _make(client, settings.work_pool, docker, former or {}, said))
            remove_stranded(client)
            if block := make_webhook(alert_webhook) if alert_webhook else alert_block:
                said += alert(client, block)
        except (BadManifest, OtherPool, NoSuchBlock) as error:
            raise DeployFailed(str(error)) from error
        except (httpx.HTTPError, PrefectHTTPStatusError, ObjectNotFound, RuntimeError) as error:
            raise DeployFailed(f"Prefect at {client.api_url} did not take it: {error}") from error
    return said


def _make(client: SyncPrefectClient, pool: str, docker: DockerPool | None, former: Memory, said: list[str]) -> Memory:
    """Returns what is to be remembered."""
    kind, template = _job_template(docker)
    entries, code = read_manifest(pool), _code()
    pools = former.get("pools", {})
    made = make_work_pool(client, pool, kind, template, pools.get(pool, {}), said)
    automations = make_automations(client, former.get("automations", {}), said)
    deployments = make_deployments(
        client, entries, former.get("deployments", {}), same_code=code == former.get("code"), said=said
    )
    return {"code": code, "pools": pools | {pool: made}, "automations": automations, "deployments": deployments}


def _job_template(docker: DockerPool | None) -> tuple[str, dict[str, Any]]:
    if docker:
        return "docker", docker.job_template()
    return "process", json.loads((Path(__file__).parent / "process-pool.json").read_text())


def _code() -> str:
    """A digest of what the flows' parameters come from."""
    whole = hashlib.sha256(f"{version('prefect')} {version('pydantic')}".encode())
    for folder in ("flows", "tasks", "facet"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()[:12]


def _await_prefect(client: SyncPrefectClient, seconds: float) -> None:
    until = time.monotonic() + seconds
    while client.api_healthcheck() is not None:
        if time.monotonic() > until:
            return  # what is asked next says why
        time.sleep(0.1)


def await_deployment(seconds: float) -> None:
    """Wait until Prefect answers and knows the detection deployment. Raises DeployFailed after `seconds`."""
    until, said = time.monotonic() + seconds, ""
    with get_client(sync_client=True) as client:
        while lack := _lack(client):
            if time.monotonic() > until:
                raise DeployFailed(f"{lack} It was waited for {seconds:g} s.")
            if said != (said := lack):
                print(f"Waiting. {lack}", file=sys.stderr, flush=True)
            time.sleep(0.3)


def _lack(client: SyncPrefectClient) -> str | None:
    try:
        client.read_deployment_by_name(DETECT_DEPLOYMENT)
    except ObjectNotFound:
        return f"Prefect at {client.api_url} knows no deployment {DETECT_DEPLOYMENT}: run `facet deploy`."
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        return f"Prefect at {client.api_url} does not answer: {type(error).__name__}."
    return None
