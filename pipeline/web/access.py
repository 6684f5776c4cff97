"""Access to the web view: with the admin token, or a token signed by a trusted key. Health checks are open to all."""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from pipeline.web.admin_tokens import AdminTokens, TokenProblem
from pipeline.web.key_ring import PAUSE_SECONDS
from pipeline.web.problem import problem

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})
"""Requested by orchestrators, which have no token. They tell nothing about subscriptions."""

READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

_CLOSED: Final = (
    "This page is closed because no admin token is set. Set WEBHOOKS_ADMIN_TOKEN for the worker and send it as "
    "`Authorization: Bearer <token>`, or as the password when a browser asks for one; or set WEBHOOKS_ADMIN_JWKS and "
    "send a token that is signed by one of its keys."
)
_MISSING: Final = (
    "The admin token is missing or wrong. Send it as `Authorization: Bearer <token>`, or as the password with any user "
    "name. Send a signed token as `Authorization: Bearer <token>` only."
)
_READING_ONLY: Final = "A password gives read access only. To change something, send `Authorization: Bearer <token>`."


@dataclass(frozen=True, slots=True)
class Access:
    """The access rules.

    Programs send `Authorization: Bearer <token>` (RFC 6750) with the admin token or one signed by a trusted key.
    Browsers ask for a name and a password (RFC 7617): any name, and the admin token as the password. A browser also
    adds these to requests that other sites make it send, so they give read access only.

    Attributes:
        admin_token: WEBHOOKS_ADMIN_TOKEN; None or empty: there is no admin token.
        tokens: verifies signed tokens (WEBHOOKS_ADMIN_JWKS); None: no signed token is accepted. Without either, only
            `OPEN_PATHS` are open.
    """

    admin_token: str | None = field(default=None, repr=False)
    tokens: AdminTokens | None = None

    async def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request without access; None if it has access."""
        if request.path in OPEN_PATHS:
            return None
        if not self.admin_token and self.tokens is None:
            return problem(HTTPStatus.FORBIDDEN, _CLOSED)
        scheme, shown = credentials(request.headers.get(hdrs.AUTHORIZATION, ""))
        if self._is_admin_token(shown):
            is_allowed = scheme != "basic" or request.method in READING
            return None if is_allowed else problem(HTTPStatus.FORBIDDEN, _READING_ONLY)
        if self.tokens is not None and scheme == "bearer" and shown:
            return self._answer(await self.tokens.problem_with(shown))
        return self._unauthorized(_MISSING)

    def _is_admin_token(self, shown: str | None) -> bool:
        if not self.admin_token or shown is None:
            return False
        return hmac.compare_digest(_bytes(shown), _bytes(self.admin_token))

    def _answer(self, found: TokenProblem | None) -> web.Response | None:
        if found is None:
            return None
        detail = f"The token {found.reason}."
        if found.is_temporary:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={hdrs.RETRY_AFTER: f"{PAUSE_SECONDS:.0f}"})
        return self._unauthorized(detail, ', error="invalid_token"')

    def _unauthorized(self, detail: str, error: str = "") -> web.Response:
        challenges = [f'Bearer realm="webhooks"{error}']
        if self.admin_token:
            challenges.insert(0, 'Basic realm="webhooks", charset="UTF-8"')
        headers = CIMultiDict((hdrs.WWW_AUTHENTICATE, challenge) for challenge in challenges)
        return problem(HTTPStatus.UNAUTHORIZED, detail, headers=headers)


def credentials(authorization: str) -> tuple[str, str | None]:
    """The scheme in lower case, and the token in the header; None if there is no token."""
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
    """The bytes that were received: aiohttp reads header bytes that are not UTF-8 as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def guard(access: Access) -> Middleware:
    """An aiohttp middleware that applies *access* to every request, even if there is no page at its path."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = await access.refusal(request)
        return await handler(request) if refusal is None else refusal

    return admit
