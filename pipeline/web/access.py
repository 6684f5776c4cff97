"""Controls access to the web view with the admin token or signed tokens. Health checks need no token."""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

from pipeline.config.settings import Settings
from pipeline.web.admin_tokens import AdminTokens, TokenProblem, admin_tokens
from pipeline.web.failure_limit import FailureLimit
from pipeline.web.key_ring import PAUSE_SECONDS
from pipeline.web.principal import Principal, Scope
from pipeline.web.problem import problem

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})
"""Orchestrators request these paths without a token. The answers reveal nothing about subscriptions."""

READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})

PAGE_HEADER: Final = "X-Requested-With"
PAGE_HEADER_VALUE: Final = "webhooks"

PRINCIPAL: Final = web.RequestKey("principal", Principal)

ADMIN: Final = Principal("the admin token")
SCRAPER: Final = Principal("the metrics token", frozenset({"metrics"}))

_CLOSED: Final = (
    "This page is closed because no admin token is set. Set WEBHOOKS_ADMIN_TOKEN for the worker, and send it as "
    "`Authorization: Bearer <token>`, or as the password when a browser asks for one; or set WEBHOOKS_ADMIN_JWKS and "
    "send a token that is signed by one of its keys."
)
_MISSING: Final = (
    "The admin token is missing or wrong. Send it as `Authorization: Bearer <token>`, or as the password with any user "
    "name. Send a signed token as `Authorization: Bearer <token>` only."
)
_READING_ONLY: Final = (
    "A password gives read access only, unless the request comes from a page of this worker. To change something, send "
    "`Authorization: Bearer <token>`."
)
_EVERYONES: Final = "This page shows all subscriptions, but the token is limited to some; allowed: /api/subscriptions."


@dataclass(frozen=True, slots=True)
class Access:
    """The access rules.

    Programs send `Authorization: Bearer <token>` (RFC 6750) with the admin token or one signed by a trusted key.
    Browsers ask for a name and a password (RFC 7617): any name, and the admin token as the password.

    A browser adds the password even to requests that other sites make it send (CSRF). So a change by password needs the
    header `X-Requested-With: webhooks`, which the script of the page sets. Other sites can't set this header: a browser
    first asks the worker for permission (CORS), and the worker gives none. As a second defence, the headers with which
    a browser names the origin of a request (`Sec-Fetch-Site`, `Origin`) must not name another site.

    Attributes:
        admin_token: WEBHOOKS_ADMIN_TOKEN; None or empty without an admin token.
        tokens: verifies signed tokens (WEBHOOKS_ADMIN_JWKS); None: signed tokens are refused. Without an admin token
            and `tokens`, only `OPEN_PATHS` are open.
        metrics_token: WEBHOOKS_METRICS_TOKEN, valid for /metrics only; None or empty without such a token.
        limit: slows down the senders of wrong tokens.
    """

    admin_token: str | None = field(default=None, repr=False)
    tokens: AdminTokens | None = None
    metrics_token: str | None = field(default=None, repr=False)
    limit: FailureLimit = field(default_factory=FailureLimit, repr=False)

    async def admit(self, request: web.Request) -> Principal | web.Response:
        """The sender of a request, or the answer that refuses the request."""
        known: Principal | None = request.get(PRINCIPAL)
        if known is not None:
            return known
        if not self.admin_token and self.tokens is None and not self.metrics_token:
            return problem(HTTPStatus.FORBIDDEN, _CLOSED)
        scheme, shown = credentials(request.headers.get(hdrs.AUTHORIZATION, ""))
        pause = self.limit.pause(request.remote, shown or "")
        if pause and hdrs.AUTHORIZATION in request.headers:
            detail = f"Too many wrong tokens came from {request.remote}. Wait {pause} s."
            return problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers={hdrs.RETRY_AFTER: str(pause)})
        found = await self._find(request, scheme, shown)
        if isinstance(found, Principal):
            self.limit.succeeded(shown or "")
            request[PRINCIPAL] = found
        elif found.status == HTTPStatus.UNAUTHORIZED and hdrs.AUTHORIZATION in request.headers:
            self.limit.failed(request.remote)
        return found

    async def refusal(self, request: web.Request, *scopes: Scope, is_for_all: bool = False) -> web.Response | None:
        """The answer that refuses a request; None if the sender has access.

        Args:
            request: a request to any path.
            scopes: the token needs one of these; without scopes, any token is accepted.
            is_for_all: whether the page shows all subscriptions. If so, a token that is limited to some of them is
                refused.
        """
        if request.path in OPEN_PATHS:
            return None
        found = await self.admit(request)
        if not isinstance(found, Principal):
            return found
        if scopes and not found.scopes.intersection(scopes):
            return refused_scope(found, *scopes)
        if is_for_all and found.tenant:
            return problem(HTTPStatus.FORBIDDEN, _EVERYONES)
        return None

    async def _find(self, request: web.Request, scheme: str, shown: str | None) -> Principal | web.Response:
        if _is_same(shown, self.admin_token):
            may = scheme != "basic" or request.method in READING or is_from_own_page(request)
            return ADMIN if may else problem(HTTPStatus.FORBIDDEN, _READING_ONLY)
        if _is_same(shown, self.metrics_token):
            return SCRAPER
        if self.tokens is not None and scheme == "bearer" and shown:
            return self._answer(await self.tokens.principal_of(shown))
        return self._unauthorized(_MISSING)

    def _answer(self, found: Principal | TokenProblem) -> Principal | web.Response:
        if isinstance(found, Principal):
            return found
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


def refused_scope(principal: Principal, *scopes: Scope) -> web.Response:
    """The answer if the token has none of the *scopes* (RFC 6750 section 3.1)."""
    has = ", ".join(sorted(principal.scopes)) or "none"
    challenge = f'Bearer realm="webhooks", error="insufficient_scope", scope="{" ".join(scopes)}"'
    return problem(
        HTTPStatus.FORBIDDEN,
        f"The token needs the scope {' or '.join(scopes)}; it has: {has}.",
        headers={hdrs.WWW_AUTHENTICATE: challenge},
    )


def is_from_own_page(request: web.Request) -> bool:
    """Whether the request comes from a page of this worker, not from another site (see `Access`)."""
    origin = request.headers.get(hdrs.ORIGIN)
    return (
        request.headers.get(PAGE_HEADER) == PAGE_HEADER_VALUE
        and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        and (origin is None or origin.partition("://")[2].lower() == request.host.lower())
    )


def credentials(authorization: str) -> tuple[str, str | None]:
    """The scheme of the header in lower case, and the token; None if there is no token."""
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


def _is_same(shown: str | None, token: str | None) -> bool:
    return bool(token) and shown is not None and hmac.compare_digest(_bytes(shown), _bytes(token or ""))


def _bytes(text: str) -> bytes:
    """The bytes of *text* as received: aiohttp turns header bytes that are not UTF-8 into surrogates."""
    return text.encode("utf-8", "surrogateescape")


def guard(access: Access) -> Middleware:
    """An aiohttp middleware that applies *access* to every request, even if its path has no page."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = await access.refusal(request)
        return await handler(request) if refusal is None else refusal

    return admit


def configured_access(settings: Settings) -> Access:
    """The access rules for the pages and the API of a process with these settings.

    Raises:
        ConfigurationError: the file of ADMIN_JWKS can't be used.
    """
    token, metrics, jwks = settings.admin_token, settings.metrics_token, settings.admin_jwks
    return Access(
        admin_token=None if token is None else token.get_secret_value(),
        tokens=None if jwks is None else admin_tokens(jwks, settings.app, settings.admin_tenant_claim),
        metrics_token=None if metrics is None else metrics.get_secret_value(),
    )
