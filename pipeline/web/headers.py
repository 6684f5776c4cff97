"""Security headers of every answer of the web view: no caching, framing, sniffing, or loading from other sites."""

from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

CONTENT_SECURITY_POLICY: Final = "Content-Security-Policy"
CLOSED_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The default policy: nothing may be loaded or run. A page that needs more sets its own policy."""

SAFE_HEADERS: Final[Mapping[str, str]] = {
    CONTENT_SECURITY_POLICY: CLOSED_POLICY,
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.SERVER: "webhooks",  # hides the versions of Python and aiohttp
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@web.middleware
async def safe_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add the headers that the answer does not set itself."""
    response = await handler(request)
    for name, value in SAFE_HEADERS.items():
        response.headers.setdefault(name, value)
    return response
