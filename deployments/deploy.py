"""Make in Prefect what the flows need: the work pool, the deployments of `prefect.yaml`, and the automations.

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

from deployments.automations import make_automations
from deployments.names import DETECT_DEPLOYMENT
from facet.settings import Settings

_HERE = Path(__file__).parent


class DeployFailed(Exception):
    """Prefect did not take the work pool or the deployments."""


def deploy(settings: Settings) -> None:
    """Raises DeployFailed with Prefect's own words."""
    template = json.loads((_HERE / "process-pool.json").read_text())
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(
                WorkPoolCreate(name=settings.work_pool, type="process", base_job_template=template),
                overwrite=True,
            )
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


def await_deployment(seconds: float) -> None:
    """Wait until Prefect answers and knows the detection deployment. Raises DeployFailed after `seconds`."""
    until = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while not _is_deployed(client):
            if time.monotonic() > until:
                raise DeployFailed(
                    f"Prefect knows no deployment {DETECT_DEPLOYMENT} at {client.api_url}: run `facet deploy`."
                )
            time.sleep(0.3)


def _is_deployed(client: SyncPrefectClient) -> bool:
    try:
        return bool(client.read_deployment_by_name(DETECT_DEPLOYMENT))
    except (ObjectNotFound, httpx.HTTPError, PrefectHTTPStatusError, RuntimeError):
        return False
