"""Verifies the signature of a webhook (Standard Webhooks, HMAC-SHA256)."""

import base64
import hashlib
import hmac
import re
import time

TOLERANCE_SECONDS = 5 * 60


def verify(secret: str, webhook_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Whether *body*, the bytes as received, was signed with *secret* ("whsec_...") less than five minutes ago.

    The other arguments are the headers webhook-id, webhook-timestamp and webhook-signature.
    """
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_") + "==")
    content = f"{webhook_id}.{timestamp}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    # While a secret is being replaced, there is a signature for the old one and one for the new one.
    return any(hmac.compare_digest(expected, signature.encode()) for signature in signatures.split(" "))
