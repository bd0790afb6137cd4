"""What `prefect.yaml` says of the deployments, in Prefect's own words for it."""

import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROOT = Path(__file__).parents[2]
FILE = ROOT / "prefect.yaml"

_VARIABLE = re.compile(r"{{\s*\$(\w+)\s*}}")


class BadManifest(Exception):
    """`prefect.yaml` says what cannot be deployed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Schedule(_Strict):
    """One schedule; a deployment may have one without a slug."""

    cron: str | None = None
    interval: float | None = None
    rrule: str | None = None
    timezone: str | None = None
    anchor_date: str | None = None
    day_or: bool | None = None
    active: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)
    slug: str | None = None

    @property
    def key(self) -> str:
        return self.slug or ""

    @property
    def timing(self) -> dict[str, Any]:
        """When it runs, as the file says it."""
        return self.model_dump(exclude={"active", "parameters", "slug"}, exclude_none=True)

    def in_prefect(self) -> SCHEDULE_TYPES:
        given = self.timing
        [kind] = (kind for name, kind in _KINDS.items() if name in given)
        return kind(**given)

    def to_create(self) -> DeploymentScheduleCreate:
        return DeploymentScheduleCreate(
            schedule=self.in_prefect(), active=self.active, parameters=self.parameters, slug=self.slug
        )


_KINDS: dict[str, type[CronSchedule] | type[IntervalSchedule] | type[RRuleSchedule]] = {
    "cron": CronSchedule,
    "interval": IntervalSchedule,
    "rrule": RRuleSchedule,
}


class Limit(_Strict):
    limit: int | None = None
    collision_strategy: str = "ENQUEUE"
    grace_period_seconds: int | None = None


class Place(_Strict):
    name: str
    work_queue_name: str
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Entry(_Strict):
    """One deployment of the file."""

    name: str
    flow_name: str = ""
    entrypoint: str
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    version: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    enforce_parameter_schema: bool = True
    paused: bool = False
    concurrency_limit: Limit | int | None = None
    schedules: list[Schedule] = Field(default_factory=list)
    work_pool: Place

    @property
    def full_name(self) -> str:
        return f"{self.flow_name}/{self.name}"

    @property
    def limit(self) -> Limit:
        limit = self.concurrency_limit
        return limit if isinstance(limit, Limit) else Limit(limit=limit)

    def fields(self) -> dict[str, Any]:
        """What people may change too, by its name in Prefect; tags as keys, so that each is looked at by itself."""
        options = self.limit.model_dump(exclude={"limit"}, exclude_none=True)
        return {
            "description": self.description,
            "tags": dict.fromkeys(self.tags, True),
            "parameters": self.parameters,
            "job_variables": self.work_pool.job_variables,
            "concurrency_limit": self.limit.limit,
            "concurrency_options": options if isinstance(self.concurrency_limit, Limit) else {},
            "paused": self.paused,
        }

    def own_fields(self) -> dict[str, Any]:
        """What is the file's alone. The flow's parameters are not among it: they are known once it is loaded."""
        return {
            "version": self.version or version("facet"),
            "entrypoint": self.entrypoint,
            "path": None,
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
            "enforce_parameter_schema": self.enforce_parameter_schema,
            "work_pool_name": self.work_pool.name,
            "work_queue_name": self.work_pool.work_queue_name,
        }

    def parameter_schema(self) -> dict[str, Any]:
        """That of its flow, which is loaded. Raises BadManifest."""
        from prefect.utilities.callables import parameter_schema

        flow = _load_flow(self.entrypoint)
        if flow.name != self.flow_name:
            raise BadManifest(f"prefect.yaml: the flow of {self.name} is {flow.name}, not {self.flow_name}.")
        return parameter_schema(flow).model_dump(mode="json")


def read_manifest(work_pool: str, environment: Mapping[str, str] = os.environ) -> list[Entry]:
    """The deployments of `prefect.yaml`, with its placeholders filled. Raises BadManifest."""
    try:
        content = yaml.safe_load(FILE.read_text())
        values = dict(environment) | {"FACET_WORK_POOL": work_pool}
        entries = [Entry.model_validate(_fill(entry, values)) for entry in content["deployments"]]
        for entry in entries:
            _check(entry)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadManifest(f"prefect.yaml: {wrong}") from error
    except (yaml.YAMLError, KeyError, TypeError, OSError) as error:
        raise BadManifest(f"prefect.yaml cannot be read: {error!r}") from error
    return entries


def _fill(value: Any, variables: Mapping[str, str]) -> Any:
    """Put environment variables where `{{ $NAME }}` stands, as `prefect deploy` does."""
    if isinstance(value, dict):
        return {key: _fill(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, variables) for each in value]
    return _VARIABLE.sub(lambda found: variables[found[1]], value) if isinstance(value, str) else value


def _check(entry: Entry) -> None:
    keys = [schedule.key for schedule in entry.schedules]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise BadManifest(f"prefect.yaml: the deployment {entry.name} has two schedules with the slug {twice.pop()!r}.")
    for schedule in entry.schedules:
        if len(_KINDS.keys() & schedule.timing.keys()) != 1:
            raise BadManifest(f"prefect.yaml: a schedule of {entry.name} needs one of {', '.join(_KINDS)}.")
        schedule.to_create()
    if entry.concurrency_limit is not None:
        ConcurrencyOptions.model_validate(entry.limit.model_dump(exclude={"limit"}, exclude_none=True))
    if not entry.flow_name:
        entry.flow_name = _load_flow(entry.entrypoint).name


def _load_flow(entrypoint: str) -> Any:
    """Loading the flows, and what they import, is most of a deployment's time; none is where nothing has changed."""
    from prefect.flows import load_flow_from_entrypoint

    try:
        return load_flow_from_entrypoint(entrypoint)
    except Exception as error:  # whatever its modules raise
        raise BadManifest(f"prefect.yaml: the flow {entrypoint} cannot be loaded: {error!r}") from error
