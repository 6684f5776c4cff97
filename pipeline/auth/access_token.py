"""An access token as the pipeline keeps it, and what names the credentials it was got with. Pure."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from pipeline.core.subscription import ClientAuth, OAuth2Auth

MARGIN_SECONDS: Final = 60.0
"""How long before its end a token is renewed, at most."""

MARGIN_SHARE: Final = 0.1
"""The same for tokens that live so short that a minute would be most of it, as a share of their lifetime."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token of a token endpoint (RFC 6749 section 5.1).

    Attributes:
        value: what stands after `Bearer `.
        obtained_at: when it was asked for, Unix seconds.
        expires_at: Unix seconds, *obtained_at* for one that is used once; None if the endpoint didn't say, and then it
            is good until a callback answers 401.
    """

    value: str = field(repr=False)
    obtained_at: float
    expires_at: float | None = None

    @property
    def authorization(self) -> str:
        """The header that carries it (RFC 6750 section 2.1)."""
        return f"Bearer {self.value}"

    @property
    def renew_at(self) -> float | None:
        """From when on a new one should be got, Unix seconds; None if it isn't known to expire."""
        if self.expires_at is None:
            return None
        lifetime = self.expires_at - self.obtained_at
        return self.expires_at - min(MARGIN_SECONDS, MARGIN_SHARE * lifetime)

    @property
    def is_for_once(self) -> bool:
        """Whether its lifetime is 0: who waited for it may send it, and nobody keeps it."""
        return self.expires_at == self.obtained_at

    def is_good(self, now: float) -> bool:
        """Whether it has not expired at *now*, Unix seconds."""
        return self.expires_at is None or now < self.expires_at


def fingerprint(auth: ClientAuth) -> bytes:
    """32 bytes that name these credentials without telling them: SHA-256 over all that the token endpoint is told.

    The parts are joined as JSON, so that no two sets of credentials run together to the same text. The secret or key is
    one of them: a token that was got with another one is not found again.
    """
    if isinstance(auth, OAuth2Auth):
        # As it always was: rows of earlier versions are found again.
        parts = [auth.endpoint, auth.client_id, auth.client_secret, auth.scopes, auth.client_auth_method]
        return _digest(parts)
    told = [getattr(auth, each.name) for each in fields(auth) if each.name != "key"]
    return _digest(["jwt-profile", *told, auth.key.hex()])


def _digest(parts: Sequence[object]) -> bytes:
    return hashlib.sha256(json.dumps(parts).encode()).digest()
