"""Client assertions: JWTs that authenticate a client (RFC 7523 sections 2.2 and 3), signed by pyjwt."""

import uuid
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pipeline.core.subscription import JwtProfileAuth

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

OWN_CLAIMS: Final = frozenset({"iss", "sub", "aud", "exp", "iat", "jti"})
"""Claims that `JwtProfileAuth.claims` can't set."""


def client_assertion(auth: JwtProfileAuth, now: float) -> str:
    """A new assertion.

    Args:
        auth: the credentials. Their key fits their algorithm.
        now: the current time, Unix seconds.
    """
    issued_at = int(now)
    claims: dict[str, object] = {
        **dict(auth.claims),
        "iss": auth.issuer,
        "sub": auth.subject,
        "aud": auth.audience,
        "iat": issued_at,
        "exp": issued_at + auth.lifetime_seconds,
        # Strict servers accept each `jti` once. A configured `jti` is for servers that expect a fixed value.
        "jti": auth.jwt_id or str(uuid.uuid4()),
    }
    headers: dict[str, object] = {}
    if auth.key_id is not None:
        headers["kid"] = auth.key_id
    if auth.certificates:
        headers["x5c"] = list(auth.certificates)
    return jwt.encode(claims, _signing_key(auth), algorithm=auth.algorithm, headers=headers)


def _signing_key(auth: JwtProfileAuth) -> Any:
    if auth.algorithm != "RS256":
        return auth.key
    # The key was validated when it was applied (subscriptions/key_check.py). The library's validation would
    # block the event loop for 30 ms with 2048 bits and for 200 ms with 4096. Signing takes 1 ms.
    return load_pem_private_key(auth.key, None, unsafe_skip_rsa_key_validation=True)
