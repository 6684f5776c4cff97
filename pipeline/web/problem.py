"""Errors of the web view as problem details (RFC 9457)."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, LooseHeaders

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"


def problem(
    status: HTTPStatus,
    detail: str,
    *,
    headers: LooseHeaders | None = None,
    members: Mapping[str, Any] | None = None,
) -> web.Response:
    """A problem of the type `about:blank`. *detail* is a sentence for people, *members* are extension members."""
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail, **(members or {})}
    return web.Response(text=json.dumps(body), status=status, content_type=CONTENT_TYPE, headers=headers)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception of a handler into a problem. Unexpected exceptions are logged and not shown."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return problem(HTTPStatus.NOT_FOUND, f"There is nothing at {request.path}.")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{request.path} allows {allowed}, not {request.method}.",
            headers={hdrs.ALLOW: allowed},
        )
    except web.HTTPClientError as error:
        return problem(HTTPStatus(error.status), error.reason)
    except web.HTTPException:
        raise
    except Exception:  # the outermost handler: the answer of a failed page must not have a traceback
        logger.exception("%s %s failed", request.method, request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The worker could not answer; see its log.")
