"""The work pool and its queues in Prefect: made once, and changed later only where Facet itself has changed."""

import json
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound

from deployments.prefect.last_deployed import Memory, digest, known_id, merge
from deployments.prefect.names import WORK_QUEUES


class OtherPool(Exception):
    """There is a work pool of this name, and of another type."""


def make_work_pool(
    client: SyncPrefectClient, name: str, kind: str, template: dict[str, Any], known: Memory, said: list[str]
) -> Memory:
    """Returns what is to be remembered; says in `said` what was changed. Raises OtherPool."""
    text = digest(json.dumps(template, sort_keys=True))
    pool = _read(client, name)
    if pool is None:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        said.append(f"The work pool {name} is made.")
        known = {}
    elif pool.type != kind:
        raise OtherPool(f"The work pool {name} is of the type {pool.type}, not {kind}: set another FACET_WORK_POOL.")
    elif known.get("template") != text and pool.base_job_template != template:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
        said.append(f"The work pool {name}: its job template is changed.")
    return {"template": text, "queues": _make_queues(client, name, known.get("queues", {}), said)}


def _read(client: SyncPrefectClient, name: str) -> WorkPool | None:
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        return None


def _make_queues(client: SyncPrefectClient, pool: str, known: Memory, said: list[str]) -> Memory:
    present = {queue.name: queue for queue in client.read_work_queues(work_pool_name=pool)}
    memory = {}
    for priority, (name, description) in enumerate(WORK_QUEUES.items(), 1):
        wanted = {"description": description, "priority": priority}
        if (queue := present.get(name)) is None:
            queue = client.create_work_queue(name, work_pool_name=pool, description=description, priority=priority)
            said.append(f"The work queue {name} is made.")
        else:
            there = {field: getattr(queue, field) for field in wanted}
            changed = merge(there, wanted, known.get(name, {}).get("fields", digest(wanted)))
            if changed != there:
                client.update_work_queue(queue.id, **changed)
                said.append(f"The work queue {name} is changed.")
        memory[name] = {"id": str(queue.id), "fields": digest(wanted)}
    for name in known.keys() - memory.keys():
        if (queue := present.get(name)) and queue.id == known_id(known[name]):
            client.delete_work_queue_by_id(queue.id)
            said.append(f"The work queue {name} is removed.")
    return memory
