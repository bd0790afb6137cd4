"""`facet deploy` on a real Prefect server: what people set stays, what the file changes comes, what it drops goes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.objects import ConcurrencyOptions, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelling, Pending, Running

from deployments.prefect import last_deployed as memory
from deployments.prefect import manifest, work_pools
from deployments.prefect.deploy import DeployFailed, deploy
from deployments.prefect.docker_pool import DockerPool
from deployments.prefect.names import (
    DELIVER_DEPLOYMENT,
    DEPLOYMENTS,
    MAINTAIN_DEPLOYMENT,
    REPROCESS_DEPLOYMENT,
    WORK_QUEUES,
)
from facet.settings import Settings

POOL = "faces"
ZOMBIES = "facet: crash flow runs without heartbeats"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The content of prefect.yaml, its deployments by their names; `state` deploys what a test makes of it."""
    content = yaml.safe_load(manifest.FILE.read_text())
    monkeypatch.setattr(manifest, "FILE", tmp_path / "prefect.yaml")
    return {entry["name"]: entry for entry in content["deployments"]}


def state(file: dict[str, Any] | None = None, **options: Any) -> list[str]:
    if file is not None:
        manifest.FILE.write_text(yaml.safe_dump({"name": "facet", "deployments": list(file.values())}))
    return deploy(Settings(work_pool=options.pop("pool", POOL)), **options)


def read(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    return client.read_deployment_by_name(name)


def automation(client: SyncPrefectClient, name: str) -> Automation:
    [found] = client.read_automations_by_name(name)
    return found


def everything(client: SyncPrefectClient) -> dict[str, Any]:
    """All that was deployed, as it is now, but for its times."""
    times = {"created", "updated", "last_polled", "status", "updated_by"}
    found: dict[str, Any] = {name: read(client, name).model_dump(exclude=times) for name in DEPLOYMENTS}
    for deployment in found.values():
        for part in (*deployment["schedules"], deployment["global_concurrency_limit"] or {}):
            part.pop("updated", None)
    found["pool"] = client.read_work_pool(POOL).model_dump(exclude=times)
    found["queues"] = [queue.model_dump(exclude=times) for queue in client.read_work_queues(work_pool_name=POOL)]
    return found | {"automations": client.request("POST", "/automations/filter", json={}).json()}


def test_what_people_set_survives_every_further_deploy(client: SyncPrefectClient) -> None:
    assert f"The deployment {MAINTAIN_DEPLOYMENT} is made." in state()
    client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True, concurrency_limit=4, description="Ours"))
    [bulk] = [queue for queue in client.read_work_queues(work_pool_name=POOL) if queue.name == "bulk"]
    client.update_work_queue(bulk.id, is_paused=True, concurrency_limit=1, description="Slow", priority=9)
    for name in DEPLOYMENTS:
        deployment = read(client, name)
        client.update_deployment(
            deployment.id,
            DeploymentUpdate(
                paused=True,
                tags=["ours"],
                description="Ours",
                job_variables={"env": {"OURS": "1"}},
                concurrency_limit=2,
                concurrency_options=ConcurrencyOptions(collision_strategy="ENQUEUE"),
            ),
        )
        for schedule in deployment.schedules:
            client.update_deployment_schedule(deployment.id, schedule.id, active=False, max_scheduled_runs=3)
    deliver = read(client, DELIVER_DEPLOYMENT)
    [schedule] = deliver.schedules
    often = IntervalSchedule(interval=timedelta(seconds=60))
    client.update_deployment_schedule(deliver.id, schedule.id, schedule=often)
    own = [DeploymentScheduleCreate(schedule=CronSchedule(cron="0 0 * * *"), slug="ours"), (often, True)]
    for each in own:
        client.create_deployment_schedules(deliver.id, [each])  # type: ignore[list-item]
    client.create_work_queue("ours", work_pool_name=POOL, priority=1)
    client.create_deployment(deliver.flow_id, "ours", tags=["facet"], work_pool_name=POOL)
    zombies = automation(client, ZOMBIES)
    client.pause_automation(zombies.id)
    before = everything(client)
    for _ in range(3):
        assert state() == []
    assert everything(client) == before
    assert read(client, "deliver-callbacks/ours")


def test_a_change_of_the_file_comes_and_leaves_the_rest(client: SyncPrefectClient, file: dict[str, Any]) -> None:
    state(file)
    maintain = read(client, MAINTAIN_DEPLOYMENT)
    client.update_deployment(
        maintain.id,
        DeploymentUpdate(
            paused=True, tags=["facet", "ours"], concurrency_limit=3, job_variables={"env": {"OURS": "1"}}
        ),
    )
    client.update_deployment_schedule(maintain.id, maintain.schedules[0].id, active=False)
    entry = file["maintain"]
    entry |= {"description": "New", "tags": ["new"], "entrypoint": "flows.deliver_callbacks.deliver_callbacks"}
    entry |= {"flow_name": "", "parameters": {"a": 1}, "schedules": [{"interval": 7200}]}
    entry["work_pool"]["job_variables"] = {"env": {"NEW": "2"}}
    file["reprocess"]["schedules"][0] |= {"cron": "0 4 * * *", "parameters": {"request": {"at_most": 5}}}
    entry["flow_name"] = "deliver-callbacks"  # that of the entrypoint; so the deployment is another
    with pytest.raises(ObjectNotFound):
        read(client, "deliver-callbacks/maintain")
    said = state(file)
    assert f"The deployment {MAINTAIN_DEPLOYMENT} is removed." in said
    assert read(client, "deliver-callbacks/maintain").parameters == {"a": 1}
    reprocess = read(client, REPROCESS_DEPLOYMENT)
    [nightly] = reprocess.schedules
    assert isinstance(nightly.schedule, CronSchedule) and nightly.schedule.cron == "0 4 * * *"
    assert nightly.parameters == {"request": {"at_most": 5}} and nightly.slug == "failed-images"


def test_each_field_is_merged_by_itself(client: SyncPrefectClient, file: dict[str, Any]) -> None:
    state(file)
    deliver = read(client, DELIVER_DEPLOYMENT)
    client.update_deployment(
        deliver.id,
        DeploymentUpdate(
            paused=True, tags=["facet", "ours"], job_variables={"env": {"OURS": "1"}}, concurrency_limit=3
        ),
    )
    client.update_deployment_schedule(deliver.id, deliver.schedules[0].id, active=False)
    entry = file["deliver-callbacks"]
    entry |= {"description": "New", "tags": ["facet", "new"], "schedules": [{"interval": 7200}]}
    entry["work_pool"] |= {"job_variables": {"env": {"NEW": "2"}}, "work_queue_name": "bulk"}
    said = state(file)
    assert said == [
        f"The deployment {DELIVER_DEPLOYMENT} is changed: "
        "description, job_variables, tags, work_pool_name, work_queue_name.",
        f"The schedule of {DELIVER_DEPLOYMENT} is changed: schedule.",
    ]
    now = read(client, DELIVER_DEPLOYMENT)
    assert (now.id, now.description, now.tags) == (deliver.id, "New", ["facet", "ours", "new"])
    assert now.job_variables == {"env": {"OURS": "1", "NEW": "2"}} and now.work_queue_name == "bulk"
    assert now.paused and now.global_concurrency_limit and now.global_concurrency_limit.limit == 3
    [schedule] = now.schedules
    assert isinstance(schedule.schedule, IntervalSchedule) and schedule.schedule.interval == timedelta(hours=2)
    assert (schedule.id, schedule.active) == (deliver.schedules[0].id, False)
    entry["tags"], entry["concurrency_limit"] = ["new"], {"limit": 5, "collision_strategy": "CANCEL_NEW"}
    state(file)
    now = read(client, DELIVER_DEPLOYMENT)
    assert now.tags == ["ours", "new"]
    assert now.global_concurrency_limit and now.global_concurrency_limit.limit == 5
    assert state(file) == []


def test_what_the_file_alone_decides_is_stated_again(client: SyncPrefectClient) -> None:
    state()
    maintain = read(client, MAINTAIN_DEPLOYMENT)
    wrong = DeploymentUpdate(
        entrypoint="elsewhere.flow",
        path="/elsewhere",
        pull_steps=[],
        enforce_parameter_schema=False,
        parameter_openapi_schema={"type": "object", "properties": {"x": {"type": "string"}}},
    )
    client.update_deployment(maintain.id, wrong)
    before = {field: getattr(maintain, field) for field in wrong.model_fields_set}
    state()
    now = read(client, MAINTAIN_DEPLOYMENT)
    assert {field: getattr(now, field) for field in wrong.model_fields_set} == before


def test_what_the_file_no_longer_has_goes_and_what_people_made_stays(
    client: SyncPrefectClient, file: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = file["maintain"] | {"name": "maintain-more", "schedules": [{"cron": "0 1 * * *", "slug": "extra"}]}
    file["reprocess"]["schedules"].append({"interval": 86_400, "slug": "more"})
    monkeypatch.setattr(work_pools, "WORK_QUEUES", WORK_QUEUES | {"more": "More."})
    state(file | {"more": extra})
    reprocess = read(client, REPROCESS_DEPLOYMENT)
    client.create_deployment_schedules(reprocess.id, [(CronSchedule(cron="0 5 * * *"), True)])
    client.create_deployment(reprocess.flow_id, "by-hand", tags=["facet"])
    client.create_work_queue("by-hand", work_pool_name=POOL)
    monkeypatch.setattr(work_pools, "WORK_QUEUES", WORK_QUEUES)
    file["reprocess"]["schedules"].pop()
    file["deliver-callbacks"]["schedules"] = []
    assert set(state(file)) == {
        "The deployment maintain/maintain-more is removed.",
        f"The schedule more of {REPROCESS_DEPLOYMENT} is removed.",
        f"The schedule of {DELIVER_DEPLOYMENT} is removed.",
        "The work queue more is removed.",
    }
    assert {s.slug for s in read(client, REPROCESS_DEPLOYMENT).schedules} == {"failed-images", None}
    assert read(client, DELIVER_DEPLOYMENT).schedules == []
    assert read(client, "reprocess/by-hand")
    names = {queue.name for queue in client.read_work_queues(work_pool_name=POOL)}
    assert names == {"by-hand", "default", *WORK_QUEUES}
    with pytest.raises(ObjectNotFound):
        read(client, "maintain/maintain-more")
    assert state(file) == []


def test_what_is_gone_from_prefect_is_made_again(client: SyncPrefectClient) -> None:
    state()
    deliver = read(client, DELIVER_DEPLOYMENT)
    client.delete_deployment_schedule(deliver.id, deliver.schedules[0].id)
    client.delete_deployment(read(client, MAINTAIN_DEPLOYMENT).id)
    client.delete_automation(automation(client, ZOMBIES).id)
    [bulk] = [queue for queue in client.read_work_queues(work_pool_name=POOL) if queue.name == "bulk"]
    client.delete_work_queue_by_id(bulk.id)
    assert len(state()) == 4
    assert len(read(client, DELIVER_DEPLOYMENT).schedules) == len(read(client, MAINTAIN_DEPLOYMENT).schedules) == 1
    client.delete_work_pool(POOL)
    state()
    assert read(client, MAINTAIN_DEPLOYMENT).work_pool_name == POOL and state() == []


def test_what_a_version_deployed_that_remembered_nothing_is_taken_over(client: SyncPrefectClient) -> None:
    state()
    maintain = read(client, MAINTAIN_DEPLOYMENT)
    client.update_deployment(maintain.id, DeploymentUpdate(paused=True, tags=["ours"], concurrency_limit=2))
    [schedule] = maintain.schedules
    client.update_deployment_schedule(
        maintain.id, schedule.id, active=False, schedule=IntervalSchedule(interval=timedelta(hours=2))
    )
    client.delete_variable_by_name(memory.VARIABLE)
    before = everything(client)
    assert state() == [] and everything(client) == before
    # The same version again, which makes its schedules anew.
    client.delete_deployment_schedule(maintain.id, schedule.id)
    client.create_deployment_schedules(maintain.id, [(IntervalSchedule(interval=timedelta(hours=1)), False)])
    assert state() == []
    assert [each.active for each in read(client, MAINTAIN_DEPLOYMENT).schedules] == [False]


def test_an_automation_that_is_right_keeps_its_trigger_and_one_that_is_not_wanted_goes(
    client: SyncPrefectClient,
) -> None:
    state(alert_webhook="http://127.0.0.1:1/")

    def triggers() -> dict[str, UUID]:
        found = client.request("POST", "/automations/filter", json={}).json()
        return {each["name"]: each["trigger"]["id"] for each in found}

    before = triggers()
    assert len(before) == 3
    assert state(alert_webhook="http://127.0.0.1:1/") == [] and triggers() == before
    client.delete_variable_by_name(memory.VARIABLE)
    assert state() == [] and triggers() == before, "as after an upgrade"
    mine = automation(client, ZOMBIES)
    mine.trigger.within = timedelta(seconds=999)  # type: ignore[union-attr]
    client.update_automation(mine.id, AutomationCore.model_validate(mine.model_dump(exclude={"id", "owner_resource"})))
    state()
    assert automation(client, ZOMBIES).trigger.within == timedelta(seconds=999)  # type: ignore[union-attr]
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}):
        assert state() == [f"The automation {ZOMBIES!r} is changed."]
    assert automation(client, ZOMBIES).trigger.within == timedelta(seconds=240)  # type: ignore[union-attr]
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        assert state() == [f"The automation {ZOMBIES!r} is removed."]


def test_the_docker_pool_keeps_what_people_set_too(client: SyncPrefectClient) -> None:
    def docker(image: str) -> DockerPool:
        return DockerPool(image, ["net"], Path("/secrets"))

    state()
    state(pool="containers", docker=docker("facet:1"))
    client.update_work_pool("containers", WorkPoolUpdate(is_paused=True, concurrency_limit=2, description="Ours"))
    client.pause_deployment(read(client, MAINTAIN_DEPLOYMENT).id)
    assert state(pool="containers", docker=docker("facet:1")) == []
    assert state(pool="containers", docker=docker("facet:2")) == [
        "The work pool containers: its job template is changed."
    ]
    pool = client.read_work_pool("containers")
    assert (pool.is_paused, pool.concurrency_limit, pool.description) == (True, 2, "Ours")
    assert pool.base_job_template["variables"]["properties"]["image"]["default"] == "facet:2"
    state()
    maintain = read(client, MAINTAIN_DEPLOYMENT)
    assert (maintain.work_pool_name, maintain.paused) == (POOL, True)
    with pytest.raises(DeployFailed, match="of the type process, not docker"):
        state(docker=docker("facet:1"))


def test_runs_of_before_a_restart_are_ended_and_others_are_not(client: SyncPrefectClient) -> None:
    state()
    maintain, own = read(client, MAINTAIN_DEPLOYMENT).id, read(client, REPROCESS_DEPLOYMENT)
    elsewhere = client.create_deployment(own.flow_id, "elsewhere")

    def run(deployment_id: UUID, *states: Any) -> UUID:
        flow_run_id = client.create_flow_run_from_deployment(deployment_id).id
        for each in states:
            client.set_flow_run_state(flow_run_id, each, force=True)
        return flow_run_id

    dead, cancelled = run(maintain, Pending(), Running()), run(own.id, Running(), Cancelling())
    other, waits = run(elsewhere, Running()), run(own.id)
    limit = read(client, MAINTAIN_DEPLOYMENT).global_concurrency_limit
    restarted = datetime.now(UTC)
    fresh = run(own.id, Running())
    assert state(runs_ended_before=restarted) == ["2 flow run(s) ended that were in progress when the stack ended."]
    types = {i: client.read_flow_run(i).state_type for i in (dead, cancelled, other, waits, fresh)}
    assert list(types.values()) == [
        StateType.CRASHED,
        StateType.CANCELLED,
        StateType.RUNNING,
        StateType.SCHEDULED,
        StateType.RUNNING,
    ]
    assert limit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pause": True}, "pause: Extra inputs"),
        ({"schedules": [{"interval": 1}, {"interval": 2}]}, "two schedules with the slug"),
        ({"schedules": [{"slug": "x"}]}, "needs one of cron"),
        ({"entrypoint": "flows.maintain.none"}, "flows.maintain.none"),
        ({"flow_name": "other"}, "is maintain, not other"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(
    client: SyncPrefectClient, file: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    file["maintain"] |= change
    with pytest.raises(DeployFailed, match=said):
        state(file)
