"""Automations: what Prefect does by itself when its events ask for it, or stay out."""

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import get_current_settings

_MISSED_BEATS = 4
_LEAST_SECONDS = 120


def make_automations(client: SyncPrefectClient) -> None:
    """Make Facet's automations, or change those of their names to what they are now; one that is paused stays so."""
    for automation in (crash_zombies(zombie_after()),):
        found = client.read_automations_by_name(automation.name)
        if not found:
            client.create_automation(automation)
        for former in found:
            client.update_automation(former.id, automation.model_copy(update={"enabled": former.enabled}))


def crash_zombies(silence: timedelta) -> AutomationCore:
    """Crash flow runs of Facet that have stopped to send heartbeats: nobody was left to say that they are dead.

    Any event of the flow run counts as a sign of life, so one that has ended, or waits for its next attempt, is none.
    """
    return AutomationCore(
        name="facet: crash zombie flow runs",
        description="A flow run that has sent no heartbeat for long has died without a word.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.facet"}
            ),
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="The flow run's heartbeats have stopped.")],
    )


def zombie_after() -> timedelta:
    """The silence after which a flow run is taken for dead, as the heartbeats' interval has it."""
    beat = get_current_settings().flows.heartbeat_frequency or 0
    return timedelta(seconds=max(_LEAST_SECONDS, _MISSED_BEATS * beat))
