"""Automations: what Prefect does by itself when its events ask for it, or stay out."""

from collections.abc import Iterator
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

_MISSED_BEATS = 4
_LEAST_SILENCE = timedelta(minutes=2)
_START = timedelta(minutes=5)


def make_automations(client: SyncPrefectClient) -> None:
    """Make Facet's automations, or change those of their names to what they are now; one that is paused stays so."""
    for automation in _automations():
        found = client.read_automations_by_name(automation.name)
        if not found:
            client.create_automation(automation)
        for former in found:
            client.update_automation(former.id, automation.model_copy(update={"enabled": former.enabled}))


def _automations() -> Iterator[AutomationCore]:
    yield crash_unstarted(_START)
    if beat := get_current_settings().flows.heartbeat_frequency:
        yield crash_zombies(max(_LEAST_SILENCE, timedelta(seconds=_MISSED_BEATS * beat)))


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
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.facet"}
            ),
            for_each={"prefect.resource.id"},
            after=after,
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )
