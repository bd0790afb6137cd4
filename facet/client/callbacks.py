"""What a receiver of callbacks does with one."""

from collections.abc import Mapping
from typing import cast

from standardwebhooks import Webhook, WebhookVerificationError

from facet.client.types import Callback


def verify_callback(body: bytes | str, headers: Mapping[str, str], *secrets: str) -> Callback:
    """The callback, once one of the secrets, `whsec_…`, proves that it is from the service and fresh.

    Raises WebhookVerificationError. `body` is what was received, to the byte; `headers` may be in any case.
    """
    for webhook in [Webhook(secret) for secret in secrets]:
        try:
            return cast(Callback, webhook.verify(body, dict(headers)))
        except (WebhookVerificationError, ValueError):  # the latter for a signature that is no base64
            continue
    raise WebhookVerificationError("No secret given has signed this callback.")
