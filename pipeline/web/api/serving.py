"""Serves operations as pages of Faust's web server; errors become problem details."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import faust
from aiohttp import hdrs, web

from pipeline.core.errors import (
    BrokerError,
    ConfigurationError,
    ConflictError,
    StaleError,
    UnknownSubscriptionError,
    WebhooksError,
)
from pipeline.web.access import Access, refused_scope
from pipeline.web.api.operations import Operation
from pipeline.web.api.reading import RefusedError, read_call
from pipeline.web.principal import Principal
from pipeline.web.problem import problem

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 5

_STATUSES: Final[tuple[tuple[type[WebhooksError], HTTPStatus], ...]] = (
    (StaleError, HTTPStatus.PRECONDITION_FAILED),
    (ConflictError, HTTPStatus.CONFLICT),
    (ConfigurationError, HTTPStatus.BAD_REQUEST),
    (UnknownSubscriptionError, HTTPStatus.NOT_FOUND),
    (BrokerError, HTTPStatus.SERVICE_UNAVAILABLE),
)


def serve(app: faust.App, operations: Sequence[Operation], access: Access) -> None:
    """Register the pages of *operations*; *access* is checked here too, in case the app was made without."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method.lower()] = operation
    for path, methods in by_path.items():
        # aiohttp's own pattern of a parameter leaves out braces, which an id may contain.
        app.page(path.replace("}", ":[^/]+}"), name=f"webhooks:{path}")(_view(methods, access))


def _view(operations: Mapping[str, Operation], access: Access) -> type[faust.web.View]:
    class ApiView(faust.web.View):
        """The methods of one path."""

        def __post_init__(self) -> None:
            self.methods = {method: partial(_admit, operation, access) for method, operation in operations.items()}
            if "get" in self.methods:
                self.methods["head"] = self.methods["get"]

        def get_methods(self) -> set[str]:
            """Others are answered with 405 by aiohttp."""
            return {method.upper() for method in self.methods}

    return ApiView


async def _admit(operation: Operation, access: Access, request: web.Request, **_: Any) -> web.Response:
    found = await access.admit(request)
    if not isinstance(found, Principal):
        return found
    if operation.scope not in found.scopes:
        return refused_scope(found, operation.scope)
    return await perform(operation, request, found)


async def perform(operation: Operation, request: web.Request, principal: Principal) -> web.Response:
    """Carry out a request; expected errors are problems."""
    try:
        answer = await operation.handler(await read_call(operation, request, principal))
    except RefusedError as error:
        return problem(error.status, str(error))
    except WebhooksError as error:
        return problem_of(error)
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)


def problem_of(error: WebhooksError) -> web.Response:
    """The problem that tells of *error*."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    members: dict[str, Any] = {"problems": error.problems} if isinstance(error, ConfigurationError) else {}
    is_passing = status == HTTPStatus.SERVICE_UNAVAILABLE
    headers = {hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)} if is_passing else None
    return problem(status, str(error), members=members, headers=headers)
