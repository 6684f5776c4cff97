"""Warns before bearer tokens expire, because the pipeline can't renew a token of `auth.type: token`. Pure."""

from typing import Final

import jwt

from pipeline.core.clock import rfc3339

NEAR_SECONDS: Final = 7 * 86400.0
"""How long before the expiry the warning begins: enough time to replace the token."""


def expiry_warning(token_value: str, now: float) -> str | None:
    """A sentence if the token is a JWT whose `exp` (RFC 7519 section 4.1.4) has passed or is near, else None.

    Only the receiver can verify the signature.

    Args:
        token_value: the bearer token; never part of the answer.
        now: the current time, Unix seconds.
    """
    expires_at = _expiry(token_value)
    if expires_at is None or now < expires_at - NEAR_SECONDS:
        return None
    shown = rfc3339(expires_at)
    return shown and f"the bearer token {'expired' if expires_at <= now else 'expires'} at {shown}"


def _expiry(token_value: str) -> float | None:
    try:
        claims = jwt.decode(token_value, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError):
        return None
    expires_at = claims.get("exp")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        return None
    return float(expires_at)
