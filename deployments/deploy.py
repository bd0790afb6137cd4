"""Make in Prefect what the flows need: the work pool with its queues, the deployments of `prefect.yaml`, automations.

Repeating it is safe.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from deployments.alerts import NoSuchBlock, alert, make_webhook
from deployments.automations import make_automations
from deployments.docker_pool import DockerPool
from deployments.names import DETECT_DEPLOYMENT, WORK_QUEUES
from deployments.placement import remove_stranded
from facet.settings import Settings

_HERE = Path(__file__).parent


class DeployFailed(Exception):
    """Prefect did not take the work pool or the deployments."""


def deploy(
    settings: Settings,
    *,
    alert_webhook: str | None = None,
    alert_block: str | None = None,
    docker: DockerPool | None = None,
) -> None:
    """Raises DeployFailed with Prefect's own words. Alerts that were asked for before stay as they are."""
    template = docker.job_template() if docker else json.loads((_HERE / "process-pool.json").read_text())
    pool_type = "docker" if docker else "process"
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(
                WorkPoolCreate(name=settings.work_pool, type=pool_type, base_job_template=template),
                overwrite=True,
            )
            for priority, (name, what) in enumerate(WORK_QUEUES.items(), 1):
                _make_queue(client, settings.work_pool, name, what, priority)
            make_automations(client)
        except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
            raise DeployFailed(
                f"The work pool {settings.work_pool} and the automations cannot be made: {error}"
            ) from error
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=_HERE.parent,
        env=os.environ | {"FACET_WORK_POOL": settings.work_pool},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise DeployFailed(f"The deployments cannot be made:\n{done.stdout}{done.stderr}")
    with get_client(sync_client=True) as client:
        remove_stranded(client)
    if block := make_webhook(alert_webhook) if alert_webhook else alert_block:
        with get_client(sync_client=True) as client:
            try:
                alert(client, block)
            except NoSuchBlock as error:
                raise DeployFailed(str(error)) from error


def _make_queue(client: SyncPrefectClient, pool: str, name: str, description: str, priority: int) -> None:
    """A queue that is there keeps what people have set for it in the UI, its concurrency limit above all."""
    try:
        queue = client.read_work_queue_by_name(name, work_pool_name=pool)
        client.update_work_queue(queue.id, description=description, priority=priority)
    except ObjectNotFound:
        client.create_work_queue(name, description=description, priority=priority, work_pool_name=pool)


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
