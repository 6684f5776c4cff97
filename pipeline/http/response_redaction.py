"""Takes out of an answer what the pipeline itself had told the receiver in confidence. Pure.

A receiver that repeats the request in its error page would put our credentials into dead letters and causes.
"""

from collections.abc import Iterable
from typing import Final

from pipeline.core.model import BasicAuth, JwtProfileAuth, OAuth2Auth, Subscription, TokenAuth
from pipeline.core.redaction import MASK

SHORTEST_BYTES: Final = 4
"""Shorter values are not looked for: they would blacken half of an answer and hide nothing."""

_MASK: Final = MASK.encode()


def confidences(subscription: Subscription, authorization: str | None) -> tuple[bytes, ...]:
    """What must not come back: credentials, signing secrets, the values of the subscription's headers; longest first.

    Args:
        subscription: whose callback is called.
        authorization: the value of `Authorization` that is sent, if one is.
    """
    told = [header.value for header in subscription.headers]
    told += subscription.signing_secrets
    if authorization is not None:
        told += [authorization, authorization.partition(" ")[2]]
    found = [value.encode() for value in told]
    match subscription.auth:
        case BasicAuth(_, password):
            found.append(password.encode())
        case TokenAuth(value):
            found.append(value.encode())
        case OAuth2Auth():
            found.append(subscription.auth.client_secret.encode())
        case JwtProfileAuth(key=key):
            found.append(key)
        case _:
            pass
    return _searchable(found)


def _searchable(values: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted({value for value in values if len(value) >= SHORTEST_BYTES}, key=len, reverse=True))


def without(excerpt: bytes, secrets: Iterable[bytes]) -> bytes:
    """*excerpt* with every secret masked, and with the beginning of one that its end has cut off."""
    for secret in secrets:
        excerpt = excerpt.replace(secret, _MASK)
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(excerpt)), SHORTEST_BYTES - 1, -1):
            if excerpt.endswith(secret[:length]):
                return excerpt[:-length] + _MASK
    return excerpt
