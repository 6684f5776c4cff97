"""Serves operations as pages of Faust's web server, and turns errors into problem details."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import faust
from aiohttp import hdrs, web

from pipeline.cluster.audit import AuditEntry, AuditLog, entries
from pipeline.cluster.remembered import Request
from pipeline.core.errors import (
    BrokerError,
    BusyError,
    ConfigurationError,
    ConflictError,
    PreconditionError,
    UnconfirmedError,
    UnknownSubscriptionError,
    WebhooksError,
)
from pipeline.web.access import Access, refused_scope
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.reading import IDEMPOTENCY_KEY, RefusedError, read_call
from pipeline.web.principal import Principal
from pipeline.web.problem import problem

RETRY_AFTER_SECONDS: Final = 5

_STATUSES: Final[tuple[tuple[type[WebhooksError], HTTPStatus], ...]] = (
    (PreconditionError, HTTPStatus.PRECONDITION_FAILED),
    (ConflictError, HTTPStatus.CONFLICT),
    (ConfigurationError, HTTPStatus.BAD_REQUEST),
    (UnknownSubscriptionError, HTTPStatus.NOT_FOUND),
    (BrokerError, HTTPStatus.SERVICE_UNAVAILABLE),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE),
)


class Server:
    """Serves operations.

    Args:
        access: who may call operations. This is checked here too, in case the app was made without `web_options`.
        audit: records changes.
    """

    def __init__(self, access: Access, audit: AuditLog) -> None:
        self._access = access
        self._audit = audit
        self._under_way: set[str] = set()

    def attach(self, app: faust.App, operations: Sequence[Operation]) -> None:
        """Register the pages of *operations*."""
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, {})[operation.method.lower()] = operation
        for path, methods in by_path.items():
            handlers = {method: partial(self._admit, operation) for method, operation in methods.items()}
            # aiohttp's default pattern for a parameter excludes braces, which an id may contain.
            app.page(path.replace("}", ":[^/]+}"), name=f"webhooks:{path}")(_view(handlers))

    async def _admit(self, operation: Operation, request: web.Request, **_: Any) -> web.Response:
        found = await self._access.admit(request)
        if not isinstance(found, Principal):
            return found
        if operation.scope not in found.scopes:
            return refused_scope(found, operation.scope)
        try:
            answer = await self._perform(operation, request, found)
        except RefusedError as error:
            return problem(error.status, str(error))
        except WebhooksError as error:
            return problem_of(error)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

    async def _perform(self, operation: Operation, request: web.Request, principal: Principal) -> ApiAnswer:
        call = await read_call(operation, request, principal)
        if operation.scope == "read":
            return await operation.handler(call)
        if call.key is None:
            answer = await self._handle(operation, call, request)
            await self._record(_entry(operation, call, request, answer), answer)
            return answer
        return await self._once(operation, call, request, call.key)

    async def _handle(self, operation: Operation, call: Call, request: web.Request) -> ApiAnswer:
        """The answer to a change. A change that was made, or may have been made, is recorded."""
        try:
            return await operation.handler(call)
        except UnconfirmedError:
            open_ended = ApiAnswer({"result": "unconfirmed"})
            await self._record(_entry(operation, call, request, open_ended), open_ended)
            raise

    async def _once(self, operation: Operation, call: Call, request: web.Request, key: str) -> ApiAnswer:
        """The answer to a request that may be repeated."""
        if key in self._under_way:
            raise RefusedError(HTTPStatus.CONFLICT, f"{IDEMPOTENCY_KEY}: a request with this key is under way")
        self._under_way.add(key)
        try:
            digest = await _digest(request)
            known = await self._audit.find(key)
            if known is not None and known.digest != digest:
                raise RefusedError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    f"{IDEMPOTENCY_KEY}: the key was used for another request; nothing was changed",
                )
            if known is not None:
                return ApiAnswer(known.answer, HTTPStatus(known.status), known.headers)
            answer = await self._handle(operation, call, request)
            answered = Request(key, digest, int(answer.status), answer.body, answer.headers)
            await self._record(_entry(operation, call, request, answer, answered), answer)
        finally:
            self._under_way.discard(key)
        return answer

    async def _record(self, entry: AuditEntry, answer: ApiAnswer) -> None:
        """Record a change."""
        if entry.facts.get("changed") == 0 and not entry.facts.get("unconfirmed") and entry.request is None:
            return
        for each in entries(entry, answer.changes or {}):
            await self._audit.record(each)


async def _digest(request: web.Request) -> str:
    parts = (request.method.encode(), request.path_qs.encode(), await request.read())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _entry(
    operation: Operation, call: Call, request: web.Request, answer: ApiAnswer, answered: Request | None = None
) -> AuditEntry:
    """The audit entry of a change. The revision identifies the document, which may have secrets."""
    told = call.body.model_dump(mode="json", exclude_none=True) if operation.is_body_recorded else None
    query = None if call.query is None else call.query.model_dump(mode="json", exclude_none=True)
    facts = {
        name: answer.body[name] for name in ("result", "revision", "changed", "unconfirmed") if name in answer.body
    }
    subscription = call.path.get("id") or answer.body.get("id")
    details = {name: value for name, value in (("body", told), ("query", query)) if value}
    return AuditEntry(
        call.principal.name,
        call.principal.tenant,
        request.remote,
        operation.name,
        subscription,
        {**facts, **details},
        answered,
    )


def _view(handlers: Mapping[str, Callable[..., Awaitable[web.Response]]]) -> type[faust.web.View]:
    class ApiView(faust.web.View):
        """The methods of one path."""

        def __post_init__(self) -> None:
            self.methods = dict(handlers)
            if "get" in handlers:
                self.methods["head"] = handlers["get"]

        def get_methods(self) -> set[str]:
            """The methods of the path. aiohttp answers other methods with 405."""
            return {method.upper() for method in self.methods}

    return ApiView


def problem_of(error: WebhooksError) -> web.Response:
    """The problem that describes *error*."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    members: dict[str, Any] = {"problems": error.problems} if isinstance(error, ConfigurationError) else {}
    is_passing = status == HTTPStatus.SERVICE_UNAVAILABLE
    headers = {hdrs.RETRY_AFTER: str(RETRY_AFTER_SECONDS)} if is_passing else None
    return problem(status, str(error), members=members, headers=headers)
