"""The automation that tells people of failed flow runs, through a webhook or any notification block of Prefect."""

from datetime import timedelta

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from deployments.prefect.automations import EACH_RUN, state_automation

WEBHOOK_BLOCK = "facet-alerts"
_NAME = "facet: tell of failed flow runs"
_SUBJECT = "Flow run {{ flow_run.name }} is {{ flow_run.state.name }}"
_BODY = "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}"
_PAYLOAD = """{"flow_run": {{ flow_run.name | tojson }}, "id": "{{ flow_run.id }}", "flow": {{ flow.name | tojson }},
"state": "{{ flow_run.state.name }}", "message": {{ flow_run.state.message | tojson }},
"url": "{{ flow_run|ui_url }}"}"""


class NoSuchBlock(Exception):
    """There is no block of this type and name in Prefect."""


def make_webhook(url: str) -> str:
    """The block that POSTs to this URL, made or changed; returns it as `alert` takes it."""
    Webhook(method="POST", url=SecretStr(url)).save(WEBHOOK_BLOCK, overwrite=True)
    return f"webhook/{WEBHOOK_BLOCK}"


def alert(client: SyncPrefectClient, block: str) -> list[str]:
    """Tell of every flow run that fails or crashes through this block, `TYPE/NAME`, such as `sendgrid-email/ops`.

    A block of the type `webhook` gets JSON, any other a subject and a text. Returns what was changed. Raises
    NoSuchBlock.
    """
    kind, _, name = block.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound as error:
        raise NoSuchBlock(f"Prefect has no block {block}: make it in the UI under Blocks, or name another.") from error
    action = (
        CallWebhook(block_document_id=document.id, payload=_PAYLOAD)
        if kind == "webhook"
        else SendNotification(block_document_id=document.id, subject=_SUBJECT, body=_BODY)
    )
    automation = AutomationCore(
        name=_NAME,
        trigger=EventTrigger(
            **EACH_RUN,
            expect={"prefect.flow-run.Failed", "prefect.flow-run.TimedOut", "prefect.flow-run.Crashed"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[action],
    )
    return state_automation(client, automation)
