"""An access token, and the fingerprint of the credentials with which it was obtained. Pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from pipeline.core.subscription import ClientAuth, OAuth2Auth

MARGIN_SECONDS: Final = 60.0
"""The longest time before the expiry at which a token is renewed."""

MARGIN_SHARE: Final = 0.1
"""The margin before the expiry as a share of the token's lifetime. The smaller margin applies."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token of a token endpoint (RFC 6749 section 5.1).

    Attributes:
        value: the part after `Bearer `.
        obtained_at: when it was requested, Unix seconds.
        expires_at: when it expires, Unix seconds; equal to *obtained_at* for a token that is used once. None if the
            answer has no expiry; the token then counts as valid until a callback answers 401.
    """

    value: str = field(repr=False)
    obtained_at: float
    expires_at: float | None = None

    @property
    def authorization(self) -> str:
        """The value of `Authorization` with this token (RFC 6750 section 2.1)."""
        return f"Bearer {self.value}"

    @property
    def renew_at(self) -> float | None:
        """When to get a new token, Unix seconds; None if the expiry is unknown."""
        if self.expires_at is None:
            return None
        lifetime = self.expires_at - self.obtained_at
        return self.expires_at - min(MARGIN_SECONDS, MARGIN_SHARE * lifetime)

    @property
    def is_for_once(self) -> bool:
        """Whether the token's lifetime is 0. Such a token is not kept: only the callers that waited for it use it."""
        return self.expires_at == self.obtained_at

    def is_good(self, now: float) -> bool:
        """Whether the token has not expired yet at *now*, Unix seconds."""
        return self.expires_at is None or now < self.expires_at


def fingerprint(auth: ClientAuth) -> bytes:
    """Identifies these credentials without revealing them: SHA-256 (32 bytes) of everything sent to the token endpoint.

    The parts are joined as JSON, so that different credentials can't lead to the same text. They include the secret or
    the key, so a changed secret leads to another fingerprint.
    """
    if isinstance(auth, OAuth2Auth):
        # The fingerprint must not change, because it is part of the keys of existing rows.
        parts = [auth.endpoint, auth.client_id, auth.client_secret, auth.scopes, auth.client_auth_method]
        return _digest(parts)
    told = [getattr(auth, each.name) for each in fields(auth) if each.name != "key"]
    return _digest(["jwt-profile", *told, auth.key.hex()])


def _digest(parts: Sequence[object]) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()
