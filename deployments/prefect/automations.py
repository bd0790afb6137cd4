"""Automations: what Prefect does by itself when its events ask for it, or stay out."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

from deployments.prefect.last_deployed import Memory, digest

_MISSED_BEATS = 4
_LEAST_SILENCE = timedelta(minutes=2)
_START = timedelta(minutes=5)

EACH_RUN: dict[str, Any] = {
    "match": ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
    "match_related": ResourceSpecification(
        {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.facet"}
    ),
    "for_each": {"prefect.resource.id"},
}
"""What a trigger looks at: each flow run of Facet's by itself."""


def make_automations(client: SyncPrefectClient, known: Memory | None = None, said: list[str] | None = None) -> Memory:
    """Make Facet's automations, and change those that it wants otherwise than when it made what is `known`.

    What people have changed or paused stays so. Returns what is to be remembered; says in `said` what was changed.
    """
    known, said = known or {}, said if said is not None else []
    memory = {}
    for automation in _automations():
        memory[automation.name] = wanted = digest(json.dumps(_content(automation), default=_plain, sort_keys=True))
        said += state_automation(client, automation, keep=known.get(automation.name) == wanted)
    for name in known.keys() - memory.keys():
        for former in client.read_automations_by_name(name):
            client.delete_automation(former.id)
            said.append(f"The automation {name!r} is removed.")
    return memory


def state_automation(client: SyncPrefectClient, automation: AutomationCore, *, keep: bool = False) -> list[str]:
    """Make it, or change those of its name to it; one that is paused stays so. Returns what was changed.

    One that is so already is left alone, for an update gives its trigger a new id, and the runs that it watched are
    forgotten. `keep`: it is as Facet made it before; what is otherwise, people have changed.
    """
    found = client.read_automations_by_name(automation.name)
    if not found:
        client.create_automation(automation)
        return [f"The automation {automation.name!r} is made."]
    changed = [former for former in found if not keep and _content(former) != _content(automation)]
    for former in changed:
        client.update_automation(former.id, automation.model_copy(update={"enabled": former.enabled}))
    return [f"The automation {automation.name!r} is changed."] if changed else []


def _content(automation: AutomationCore) -> dict[str, Any]:
    return automation.model_dump(include={"name", "trigger", "actions", "actions_on_trigger", "actions_on_resolve"})


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _automations() -> Iterator[AutomationCore]:
    yield crash_unstarted(_START)
    if silence := longest_silence():
        yield crash_zombies(silence)


def longest_silence() -> timedelta | None:
    """For so long nothing is heard of a flow run that is alive; None where flow runs send no heartbeats."""
    beat = get_current_settings().flows.heartbeat_frequency
    return max(_LEAST_SILENCE, timedelta(seconds=_MISSED_BEATS * beat)) if beat else None


def crash_zombies(silence: timedelta) -> AutomationCore:
    """Crash flow runs whose heartbeats have stopped: nobody was left to say that they are dead."""
    return _crash_silent(
        "facet: crash flow runs without heartbeats",
        after={"prefect.flow-run.Running", "prefect.flow-run.Retrying", "prefect.flow-run.heartbeat"},
        silence=silence,
        message="The flow run's heartbeats have stopped.",
    )


def crash_unstarted(silence: timedelta) -> AutomationCore:
    """Crash flow runs that a worker has taken and that have not begun: their worker is dead."""
    return _crash_silent(
        "facet: crash flow runs that do not begin",
        after={"prefect.flow-run.Pending", "prefect.flow-run.Submitting"},
        silence=silence,
        message="The flow run was taken by a worker and has not begun.",
    )


def _crash_silent(name: str, *, after: set[str], silence: timedelta, message: str) -> AutomationCore:
    """Any event of the flow run is a sign of life: one that has ended, or waits for its next attempt, is let be."""
    return AutomationCore(
        name=name,
        trigger=EventTrigger(
            **EACH_RUN,
            after=after,
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )
