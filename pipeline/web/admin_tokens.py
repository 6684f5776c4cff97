"""Verifies bearer tokens for the web view: JSON Web Tokens (RFC 7519) signed by a key of a JWK set.

A token is valid if a known public key signed it (`ALGORITHMS`: no shared keys, no `none`), it has an expiry (`exp`) and
has not expired, and it is not from the future (`nbf`, `iat`). If it has an audience (`aud`), that must name the
application. Other claims are ignored: the owner of the key decides who is an administrator.
"""

from dataclasses import dataclass
from typing import Any, Final

import jwt

from pipeline.core.clock import Clock
from pipeline.web.jwks import ALGORITHMS
from pipeline.web.key_ring import KeyRing
from pipeline.web.key_source import is_url, read_key_file, reader

LEEWAY_SECONDS: Final = 10.0
"""How far apart the clocks of issuer and worker may be."""

_BROKEN: Final = (jwt.InvalidTokenError, ValueError, OverflowError, RecursionError)
"""pyjwt raises the first for invalid tokens; malicious tokens can make it raise the others."""

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.MissingRequiredClaimError, "has no expiry (exp)"),
    (jwt.ExpiredSignatureError, "has expired (exp)"),
    (jwt.ImmatureSignatureError, "is not valid yet (nbf, iat)"),
    (jwt.InvalidSignatureError, "has a wrong signature"),
)


@dataclass(frozen=True, slots=True)
class TokenProblem:
    """Why a token is not accepted.

    Attributes:
        reason: completes a sentence that begins with "The token".
        is_temporary: the keys can't be read at the moment, so the token may be valid.
    """

    reason: str
    is_temporary: bool = False


class AdminTokens:
    """Verifies tokens.

    Args:
        keys: the trusted keys.
        audience: the name of the application.
    """

    def __init__(self, keys: KeyRing, audience: str) -> None:
        self._keys = keys
        self._audience = audience

    async def problem_with(self, token: str) -> TokenProblem | None:
        """Why *token* is not accepted; None if it is."""
        try:
            header = jwt.get_unverified_header(token)
        except _BROKEN:
            return TokenProblem("is not a JSON Web Token")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            return TokenProblem(f"must be signed by one of {', '.join(sorted(ALGORITHMS))}")
        key = await self._keys.find(kid, algorithm)
        if key is not None:
            return self._verify(token, key)
        if self._keys.problem is not None:
            return TokenProblem("can't be verified: the JWK set can't be read; see the worker's log", is_temporary=True)
        return TokenProblem("is signed by a key that is not in the JWK set")

    def _verify(self, token: str, key: jwt.PyJWK) -> TokenProblem | None:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp"], "verify_aud": False},
            )
        except _BROKEN as error:
            return TokenProblem(next((reason for kind, reason in _REASONS if isinstance(error, kind)), "is malformed"))
        if not self._is_for_this_audience(claims):
            return TokenProblem(f"is for another audience (aud); allowed: {self._audience}, or no aud")
        return None

    def _is_for_this_audience(self, claims: dict[str, Any]) -> bool:
        audience = claims.get("aud")
        return audience is None or self._audience in (audience if isinstance(audience, list) else [audience])


def admin_tokens(location: str, audience: str, clock: Clock) -> AdminTokens:
    """Verifies tokens with the JWK set at *location*. A file is read now, a URL when the first token arrives.

    Args:
        location: WEBHOOKS_ADMIN_JWKS.
        audience: the name of the application.
        clock: for the pauses between two reads.

    Raises:
        ConfigurationError: the file can't be read, or is not a JWK set.
    """
    keys = None if is_url(location) else read_key_file(location)
    return AdminTokens(KeyRing(reader(location), clock, keys), audience)
