"""Signatures of callbacks, as Standard Webhooks 1.0 has them."""

import base64
import binascii
import re
from datetime import datetime

from pydantic import SecretStr
from standardwebhooks import Webhook

_KEY_BYTES = range(24, 65)


class Signer:
    """Signs with every active secret, so that receivers may change theirs one after the other."""

    def __init__(self, secrets: SecretStr) -> None:
        """`secrets`: `whsec_…`, separated by commas or spaces; none: unsigned. Raises ValueError, naming no secret."""
        words = [word for word in re.split(r"[\s,]+", secrets.get_secret_value()) if word]
        for position, word in enumerate(words, 1):
            if not _is_secret(word):
                raise ValueError(f"secret {position} of {len(words)} is not whsec_ and the base64 of 24 to 64 bytes")
        self._webhooks = [Webhook(word) for word in words]

    def headers(self, event_id: str, at: datetime, body: str) -> dict[str, str]:
        """The headers of an attempt made at this time."""
        headers = {"webhook-id": event_id, "webhook-timestamp": str(int(at.timestamp()))}
        if self._webhooks:
            signatures = [webhook.sign(msg_id=event_id, timestamp=at, data=body) for webhook in self._webhooks]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


def _is_secret(word: str) -> bool:
    encoded = word.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        return False
    return word.startswith("whsec_") and len(key) in _KEY_BYTES
