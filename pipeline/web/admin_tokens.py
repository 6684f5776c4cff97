"""Bearer tokens that somebody else issued for the web view: JSON Web Tokens (RFC 7519) signed by a key of a JWK set.

A token is good if a known public key has signed it (`ALGORITHMS`: no shared keys, no `none`), it says when it ends
(`exp`) and has not, and it is not from the future (`nbf`, `iat`). One that says whom it is for (`aud`) must name the
application. What else it says is not looked at: whoever has the key decides who is an administrator.
"""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from pipeline.core.clock import Clock
from pipeline.web.jwks import ALGORITHMS
from pipeline.web.key_ring import KeyRing
from pipeline.web.key_source import is_url, read_key_file, reader

LEEWAY_SECONDS: Final = 10.0
"""How far the clocks of issuer and worker may be apart."""

_BROKEN: Final = (jwt.InvalidTokenError, ValueError, OverflowError, RecursionError)
"""What pyjwt raises for a token that is not good, and what it lets through for one that was made to break it."""

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.MissingRequiredClaimError, "has no expiry (exp)"),
    (jwt.ExpiredSignatureError, "has expired (exp)"),
    (jwt.ImmatureSignatureError, "is not valid yet (nbf, iat)"),
    (jwt.InvalidSignatureError, "has a wrong signature"),
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a token is not accepted: a sentence that follows "the token".

    Attributes:
        is_temporary: the keys can't be read now; the token may be good.
    """

    reason: str
    is_temporary: bool = False


class AdminTokens:
    """Judges tokens.

    Args:
        keys: that may sign.
        audience: the name of the application.
    """

    def __init__(self, keys: KeyRing, audience: str) -> None:
        self._keys = keys
        self._audience = audience

    async def doubt(self, token: str) -> Doubt | None:
        """Why *token* is not accepted; None if it is."""
        try:
            header = jwt.get_unverified_header(token)
        except _BROKEN:
            return Doubt("is not a JSON Web Token")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            return Doubt(f"must be signed by one of {', '.join(sorted(ALGORITHMS))}")
        key = await self._keys.find(kid, algorithm)
        if key is not None:
            return self._judge(token, key)
        if self._keys.problem is not None:
            return Doubt("can't be verified: the JWK set can't be read; see the worker's log", is_temporary=True)
        return Doubt("is signed by a key that is not in the JWK set")

    def _judge(self, token: str, key: jwt.PyJWK) -> Doubt | None:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp"], "verify_aud": False},
            )
        except _BROKEN as error:
            return Doubt(next((reason for kind, reason in _REASONS if isinstance(error, kind)), "is broken"))
        if not self._is_for_us(claims):
            return Doubt(f"is for another audience (aud); it must name {self._audience}, or none")
        return None

    def _is_for_us(self, claims: dict[str, Any]) -> bool:
        audience = claims.get("aud")
        return audience is None or self._audience in (audience if isinstance(audience, list) else [audience])


def admin_tokens(location: str, audience: str, clock: Clock) -> AdminTokens:
    """What judges tokens by the JWK set at *location*. A file is read now, a URL when the first token is shown.

    Args:
        location: WEBHOOKS_ADMIN_JWKS.
        audience: the name of the application.
        clock: for the pauses between two readings.

    Raises:
        ConfigurationError: the file can't be read, or is not a JWK set.
    """
    keys = None if is_url(location) else read_key_file(location)
    return AdminTokens(KeyRing(reader(location), clock, keys), audience)
