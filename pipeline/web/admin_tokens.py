"""Verifies bearer tokens for the web view: JSON Web Tokens (RFC 7519) signed by a key of a JWK set.

A token is valid if a known public key signed it (`ALGORITHMS` has no shared keys and no `none`), its expiry (`exp`,
required) has not passed, and it is not from the future (`nbf`, `iat`). If it has an audience (`aud`), the audience must
name the application.

`scope` (RFC 8693 section 4.2) or `scp` says what the token may do. A token without scopes may do everything, because
the owner of the key decides who is an administrator. If a tenant claim is configured, every token must have it: an
object of metadata that limits the token to the subscriptions with that metadata. An operator's token has an empty
object, so that a token that lacks the claim by mistake gives no access.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from pipeline.core.shown import printable, shown
from pipeline.observability.instruments import Monotonic
from pipeline.web.jwks import ALGORITHMS
from pipeline.web.key_ring import KeyRing
from pipeline.web.key_source import is_url, read_key_file, reader
from pipeline.web.principal import MOST_TENANT_ENTRIES, SCOPES, Principal, Scope

LEEWAY_SECONDS: Final = 10.0
"""The largest allowed difference between the clocks of issuer and worker."""

_BROKEN: Final = (jwt.InvalidTokenError, ValueError, OverflowError, RecursionError)
"""pyjwt raises the first of these errors for invalid tokens. A malicious token can cause the others."""

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
        is_temporary: whether the token may be valid nevertheless, because the keys can't be read at present.
    """

    reason: str
    is_temporary: bool = False


class AdminTokens:
    """Verifies signed tokens.

    Args:
        audience: the name of the application.
        tenant_claim: the name of the claim that limits a token to some subscriptions; None: tokens are not limited.
    """

    def __init__(self, keys: KeyRing, audience: str, tenant_claim: str | None = None) -> None:
        self._keys = keys
        self._audience = audience
        self._tenant_claim = tenant_claim

    async def principal_of(self, token: str) -> Principal | TokenProblem:
        """The owner of the token, or why the token is not accepted."""
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

    def _verify(self, token: str, key: jwt.PyJWK) -> Principal | TokenProblem:
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
        return self._principal(claims)

    def _principal(self, claims: Mapping[str, Any]) -> Principal | TokenProblem:
        scopes = _scopes(claims.get("scope", claims.get("scp")))
        if scopes is None:
            return TokenProblem("has scopes (scope, scp) that are neither text nor a list of texts")
        name = printable(str(claims.get("sub") or claims.get("client_id") or "a signed token"))
        if self._tenant_claim is None:
            return Principal(name, scopes)
        tenant = _tenant(claims.get(self._tenant_claim))
        if tenant is None:
            return TokenProblem(
                f"has no usable claim {shown(self._tenant_claim)}; allowed: an object of up to {MOST_TENANT_ENTRIES} "
                "strings: the metadata of the subscriptions that the token gives access to"
            )
        return Principal(name, scopes, tenant)

    def _is_for_this_audience(self, claims: dict[str, Any]) -> bool:
        audience = claims.get("aud")
        return audience is None or self._audience in (audience if isinstance(audience, list) else [audience])


def _scopes(claim: object) -> frozenset[Scope] | None:
    """The scopes in the claim that this application knows; None if the claim can't be used."""
    if claim is None:
        return SCOPES
    names = claim.split() if isinstance(claim, str) else claim
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return frozenset(scope for scope in SCOPES if scope in names)


def _tenant(claim: object) -> Mapping[str, str] | None:
    """The metadata in the claim; None if it can't be used."""
    if not isinstance(claim, dict) or len(claim) > MOST_TENANT_ENTRIES:
        return None
    return claim if all(isinstance(value, str) for value in claim.values()) else None


def admin_tokens(
    location: str, audience: str, tenant_claim: str | None = None, monotonic: Monotonic = time.monotonic
) -> AdminTokens:
    """A verifier with the JWK set at *location*. A file is read now, a URL when the first token arrives.

    Args:
        location: WEBHOOKS_ADMIN_JWKS.
        audience: the name of the application.
        tenant_claim: WEBHOOKS_ADMIN_TENANT_CLAIM.
        monotonic: the clock for the age of the keys.

    Raises:
        ConfigurationError: the file can't be read or is not a JWK set.
    """
    keys = None if is_url(location) else read_key_file(location)
    return AdminTokens(KeyRing(reader(location), keys, monotonic), audience, tenant_claim)
