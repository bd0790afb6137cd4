"""What `facet doctor` looks at in Prefect: its server, the work pool, the deployments, their flow runs, a worker."""

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import httpx

from cli.faults import Faulty
from cli.readiness import prefect_login
from deployments.prefect.names import DEPLOYMENTS, WORK_QUEUES
from facet.settings import Settings

_POOL_TYPES = ("process", "docker")
_RESUME = "Resume it in the Prefect UI, when the service is to go on."


class PrefectExamination:
    """Each method but `close` is a check: it says how the part is, and raises Faulty with the way to mend it."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._pool = settings.work_pool
        self._api = httpx.Client(base_url=f"{url}/", auth=prefect_login(), timeout=10)

    def close(self) -> None:
        self._api.close()

    def server(self) -> str:
        try:
            answer = self._api.get("admin/version")
            if answer.status_code in (401, 403):
                raise Faulty(
                    f"{self._url} refuses the login ({answer.status_code}).",
                    "Set PREFECT_API_AUTH_STRING to what its server has; in a container go by its entrypoint.",
                )
            server = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise Faulty(
                f"{self._url} does not answer: {error!r}", "Start the Prefect server, or mend PREFECT_API_URL."
            ) from error
        if server != version("prefect"):
            raise Faulty(
                f"{self._url} is Prefect {server}, and this is {version('prefect')}.",
                "Install the same version on both sides.",
            )
        return f"{self._url}, version {server}"

    def work_pool(self) -> str:
        answer = self._api.get(f"work_pools/{self._pool}")
        if answer.status_code == 404:
            raise Faulty(f"There is no work pool {self._pool}.", "facet deploy")
        pool = answer.raise_for_status().json()
        if pool["type"] not in _POOL_TYPES:
            raise Faulty(
                f"The work pool {self._pool} is of type {pool['type']}, and Facet's are {' or '.join(_POOL_TYPES)}.",
                "Delete it in the Prefect UI, then facet deploy.",
            )
        if pool["is_paused"]:
            raise Faulty(f"The work pool {self._pool} is paused.", _RESUME)
        queues = {queue["name"]: queue for queue in self._read(f"work_pools/{self._pool}/queues/filter")}
        if missing := WORK_QUEUES.keys() - queues.keys():
            raise Faulty(f"Work queues are missing: {', '.join(sorted(missing))}.", "facet deploy")
        if paused := [name for name in WORK_QUEUES if queues[name]["is_paused"]]:
            raise Faulty(f"Work queues are paused: {', '.join(paused)}.", _RESUME)
        order = sorted(WORK_QUEUES, key=lambda name: queues[name]["priority"])
        if order != list(WORK_QUEUES):
            raise Faulty(f"The work queues go in the order {', '.join(order)}.", "facet deploy")
        return f"{self._pool}, with the queues {', '.join(WORK_QUEUES)}"

    def deployments(self) -> str:
        found = self._deployments()
        if missing := [name for name in DEPLOYMENTS if name not in found]:
            raise Faulty(f"Deployments are missing: {_short(missing)}.", "facet deploy")
        if homeless := [name for name in DEPLOYMENTS if found[name]["work_queue_id"] is None]:
            raise Faulty(f"Deployments have no work queue: {_short(homeless)}.", "facet deploy")
        if paused := [name for name in DEPLOYMENTS if found[name]["paused"]]:
            raise Faulty(
                f"Deployments are paused: {_short(paused)}. Their schedules make no runs; Facet goes on making them.",
                f"{_RESUME} To stop detection, pause the work pool.",
            )
        pools = sorted({found[name]["work_pool_name"] for name in DEPLOYMENTS})
        return f"{_short(DEPLOYMENTS)}, in the work pool {', '.join(pools)}"

    def flow_runs(self) -> str:
        waiting = self._read(
            "flow_runs/filter",
            flows={"name": {"any_": [name.partition("/")[0] for name in DEPLOYMENTS]}},
            flow_runs={
                "state": {"type": {"any_": ["SCHEDULED"]}},
                "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
            },
        )
        stranded = [run for run in waiting if run["work_queue_id"] is None]
        if stranded:
            names = ", ".join(run["name"] for run in stranded[:5])
            raise Faulty(
                f"{len(stranded)} flow run(s) wait in no work queue, where no worker takes them: {names}.",
                "facet deploy, which removes them; what they were to do goes on in others",
            )
        return f"{len(waiting)} wait for a worker"

    def worker(self) -> str:
        placed = self._deployments().values()
        pools = sorted({each["work_pool_name"] for each in placed if each["work_pool_name"]}) or [self._pool]
        online = 0
        for pool in pools:
            answer = self._api.post(f"work_pools/{pool}/workers/filter", json={})
            if answer.status_code == 404:
                raise Faulty("There is no work pool to serve.", "facet deploy")
            found = sum(worker["status"] == "ONLINE" for worker in answer.raise_for_status().json())
            if not found:
                raise Faulty(f"No worker serves {pool}: runs are made, and wait.", "facet worker")
            online += found
        return f"{online} online"

    def date(self) -> str:
        """By the server's clock."""
        return self._api.get("health").headers["date"]

    def _deployments(self) -> dict[str, Any]:
        answers = {name: self._api.get(f"deployments/name/{name}") for name in DEPLOYMENTS}
        return {name: each.raise_for_status().json() for name, each in answers.items() if each.status_code != 404}

    def _read(self, path: str, **wanted: Any) -> Any:
        return self._api.post(path, json=wanted).raise_for_status().json()


def _short(names: Iterable[str]) -> str:
    return ", ".join(name.partition("/")[2] for name in names)
