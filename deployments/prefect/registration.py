"""The deployments of `prefect.yaml` in Prefect, with their schedules.

What the file alone decides is stated each time. The rest is stated once, and again where the file changes: what people
have changed meanwhile stays. What the file no longer has goes, if it was made from it.
"""

import json
from contextlib import suppress
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from deployments.prefect.last_deployed import Memory, digest, known_id, merge
from deployments.prefect.manifest import Entry, Schedule


def make_deployments(
    client: SyncPrefectClient, entries: list[Entry], known: Memory, *, same_code: bool, said: list[str]
) -> Memory:
    """Returns what is to be remembered; says in `said` what was changed.

    `same_code`: the flows are what they were when that was remembered, and need not be loaded.
    """
    memory = {}
    for entry in entries:
        former = known.get(entry.full_name, {})
        present = _read(client, entry.full_name)
        if present is None:
            memory[entry.full_name] = _create(client, entry, said)
        else:
            memory[entry.full_name] = _update(client, entry, present, former, same_code=same_code, said=said)
    for name in known.keys() - memory.keys():
        gone = _read(client, name)
        if gone and gone.id == known_id(known[name]):
            client.delete_deployment(gone.id)
            said.append(f"The deployment {name} is removed.")
    return memory


def _read(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _create(client: SyncPrefectClient, entry: Entry, said: list[str]) -> Memory:
    schema = entry.parameter_schema()
    deployment_id = client.create_deployment(
        flow_id=client.create_flow_from_name(entry.flow_name),
        name=entry.name,
        schedules=[schedule.to_create() for schedule in entry.schedules],
        parameter_openapi_schema=schema,
        **entry.own_fields(),
        **_in_prefect(entry.fields()),
    )
    said.append(f"The deployment {entry.full_name} is made.")
    created = client.read_deployment_schedules(deployment_id) if entry.schedules else []
    schedules = {s.key: _remember(s, next(c for c in created if (c.slug or "") == s.key)) for s in entry.schedules}
    return _memory(entry, deployment_id, schema, schedules)


def _update(
    client: SyncPrefectClient,
    entry: Entry,
    present: DeploymentResponse,
    known: Memory,
    *,
    same_code: bool,
    said: list[str],
) -> Memory:
    own = entry.own_fields()
    schema = present.parameter_openapi_schema
    if not same_code or _text(schema) != known.get("schema"):
        own["parameter_openapi_schema"] = schema = entry.parameter_schema()
    changes = {field: value for field, value in own.items() if getattr(present, field) != value}
    if changes.keys() & {"work_pool_name", "work_queue_name"}:  # Prefect takes them together
        changes |= {field: own[field] for field in ("work_pool_name", "work_queue_name")}
    there, wanted = _present_fields(present), entry.fields()
    merged = merge(there, wanted, known.get("fields", digest(wanted)))
    changes |= _in_prefect({field: value for field, value in merged.items() if value != there[field]})
    if changes:
        client.update_deployment(present.id, DeploymentUpdate(**changes))
        said.append(f"The deployment {entry.full_name} is changed: {', '.join(sorted(changes))}.")
    schedules = _make_schedules(client, entry, present, known.get("schedules"), said)
    return _memory(entry, present.id, schema, schedules)


def _memory(entry: Entry, deployment_id: Any, schema: Any, schedules: Memory) -> Memory:
    fields = digest(entry.fields())
    return {"id": str(deployment_id), "schema": _text(schema), "fields": fields, "schedules": schedules}


def _text(value: Any) -> Any:
    """One digest for all of it."""
    return digest(json.dumps(value, sort_keys=True))


def _present_fields(deployment: DeploymentResponse) -> dict[str, Any]:
    """As `Entry.fields`."""
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    return {
        "description": deployment.description,
        "tags": dict.fromkeys(deployment.tags, True),
        "parameters": deployment.parameters,
        "job_variables": deployment.job_variables,
        "concurrency_limit": limit.limit if limit else None,
        "concurrency_options": options.model_dump(mode="json", exclude_none=True) if options else {},
        "paused": deployment.paused,
    }


def _in_prefect(fields: dict[str, Any]) -> dict[str, Any]:
    fields = dict(fields)
    if "tags" in fields:
        fields["tags"] = list(fields["tags"])
    if "concurrency_options" in fields:
        options = fields["concurrency_options"]
        fields["concurrency_options"] = ConcurrencyOptions(**options) if options else None
    return fields


def _make_schedules(
    client: SyncPrefectClient, entry: Entry, present: DeploymentResponse, known: Memory | None, said: list[str]
) -> Memory:
    memory = {}
    for schedule in entry.schedules:
        what = f"schedule {schedule.slug}" if schedule.slug else "schedule"
        found = _find(schedule, present.schedules, known)
        if found is None:
            [found] = client.create_deployment_schedules(present.id, [schedule.to_create()])
            said.append(f"The {what} of {entry.full_name} is made.")
        elif changes := _changes(schedule, found, (known or {}).get(schedule.key)):
            client.update_deployment_schedule(present.id, found.id, **changes)
            said.append(f"The {what} of {entry.full_name} is changed: {', '.join(sorted(changes))}.")
        memory[schedule.key] = _remember(schedule, found)
    for key, former in (known or {}).items():
        if key not in memory and known_id(former) in {each.id for each in present.schedules}:
            with suppress(ObjectNotFound):
                client.delete_deployment_schedule(present.id, known_id(former))  # type: ignore[arg-type]
            said.append(f"The schedule {key} of {entry.full_name} is removed.".replace("  ", " "))
    return memory


def _find(schedule: Schedule, present: list[DeploymentSchedule], known: Memory | None) -> DeploymentSchedule | None:
    """The schedule that was made from the file's, or by a version that remembered nothing."""
    former = (known or {}).get(schedule.key)
    if former and (found := next((each for each in present if each.id == known_id(former)), None)):
        return found
    if schedule.slug:
        return next((each for each in present if each.slug == schedule.slug), None)
    wanted = schedule.in_prefect()
    alike = [each for each in present if each.slug is None and type(each.schedule) is type(wanted)]
    same = [each for each in alike if _timing(each.schedule) == _timing(wanted)]
    return next(iter(same if same or known is not None else alike), None)


def _timing(schedule: Any) -> dict[str, Any]:
    """Without the moment from which an interval is counted, which is that of its making."""
    return dict(schedule.model_dump(exclude={"anchor_date"}))


def _changes(schedule: Schedule, present: DeploymentSchedule, known: Memory | None) -> dict[str, Any]:
    if known is None:
        return {}
    changes: dict[str, Any] = {}
    if _text(schedule.timing) != known["timing"]:
        changes["schedule"] = schedule.in_prefect()
    parameters = merge(present.parameters, schedule.parameters, known["parameters"])
    if parameters != present.parameters:
        changes["parameters"] = parameters
    if (active := merge(present.active, schedule.active, known["active"])) != present.active:
        changes["active"] = active
    return changes


def _remember(schedule: Schedule, made: DeploymentSchedule) -> Memory:
    return {
        "id": str(made.id),
        "timing": _text(schedule.timing),
        "parameters": digest(schedule.parameters),
        "active": digest(schedule.active),
    }
