"""Who may see the web view: whoever has the admin token; nobody where none is set. Health is open to all."""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from pipeline.web.problem import problem

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})
"""Asked by orchestrators, which have no token; they say nothing of subscriptions."""

READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

_CHALLENGES: Final = ('Basic realm="webhooks", charset="UTF-8"', 'Bearer realm="webhooks"')


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of access.

    Programs send `Authorization: Bearer <token>` (RFC 6750). Browsers ask for a name and a password (RFC 7617): any
    name, the token as the password. As a browser adds those to requests that other sites make it send, they are good
    for reading only.

    Attributes:
        admin_token: WEBHOOKS_ADMIN_TOKEN; None or empty closes everything but `OPEN_PATHS`.
    """

    admin_token: str | None = field(repr=False)

    def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that may not pass; None for one that may."""
        if request.path in OPEN_PATHS:
            return None
        if not self.admin_token:
            return problem(
                HTTPStatus.FORBIDDEN,
                "This page is closed because no admin token is set. Set WEBHOOKS_ADMIN_TOKEN for the worker and send "
                "it as `Authorization: Bearer <token>`, or as the password that a browser asks for.",
            )
        scheme, shown = credentials(request.headers.get(hdrs.AUTHORIZATION, ""))
        if shown is None or not hmac.compare_digest(_bytes(shown), _bytes(self.admin_token)):
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "The admin token is missing or wrong. Send it as `Authorization: Bearer <token>`, or as the password "
                "of any user name.",
                headers=CIMultiDict((hdrs.WWW_AUTHENTICATE, challenge) for challenge in _CHALLENGES),
            )
        if scheme == "basic" and request.method not in READING:
            return problem(
                HTTPStatus.FORBIDDEN,
                "A password is good for reading only. To change something, send `Authorization: Bearer <token>`.",
            )
        return None


def credentials(authorization: str) -> tuple[str, str | None]:
    """The scheme in lower case, and the token that the header shows; None where it shows none."""
    scheme, _, value = authorization.strip().partition(" ")
    scheme, value = scheme.lower(), value.strip()
    if scheme == "bearer":
        return scheme, value
    if scheme == "basic":
        try:
            _, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return scheme, None
        return scheme, password if colon else None
    return scheme, None


def _bytes(text: str) -> bytes:
    """As it came over the wire: aiohttp reads header bytes that are no UTF-8 as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def guard(access: Access) -> Middleware:
    """The aiohttp middleware that applies *access* to every request, whether or not there is a page at its path."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = access.refusal(request)
        return await handler(request) if refusal is None else refusal

    return admit
