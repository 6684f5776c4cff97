"""Describes an operation of the API: its request, its answers and its scope.

The routes (serving.py) and the OpenAPI document (openapi.py) are made from these descriptions.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from inspect import getdoc
from typing import Any, Final, Literal

from pydantic.alias_generators import to_camel

from pipeline.config.schema import StrictModel
from pipeline.subscriptions.edits import ALWAYS, Condition
from pipeline.web.principal import Principal, Scope

Method = Literal["GET", "POST", "PUT", "DELETE"]

NOBODY: Final = Principal("nobody", frozenset())

ID: Final = "{id}"
"""The id of a subscription in a path, percent-encoded."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an operation, parsed and validated.

    Attributes:
        query: the query as the operation's `query` model; None without a model.
        body: the body as the operation's `body` model, or as plain JSON if `is_document`; None without a body.
        condition: the condition in If-Match and If-None-Match.
        key: a digest of the Idempotency-Key and its sender; None without a key.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None
    condition: Condition = ALWAYS
    principal: Principal = NOBODY
    key: str | None = None

    @property
    def id(self) -> str:
        """The id of the subscription in the path."""
        return self.path["id"]


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """The answer to a call. *body* is sent as JSON.

    Attributes:
        changes: the revisions of several changed subscriptions, for the audit log.
    """

    body: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, int] | None = None


Handler = Callable[[Call], Awaitable[ApiAnswer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        path: the path in the form of aiohttp and OpenAPI, with `{id}`.
        handler: carries out a call. Its name is the operationId, its docstring the description.
        answers: the model of a successful answer, by status.
        query: the model of the query. Its values are strings, whole numbers, booleans and lists of strings.
        scope: the scope that a caller needs.
        is_document: the body is a subscription. The store validates it, and `body` only describes it.
        is_body_recorded: the body is written to the audit log, because it never contains a secret.
        is_conditional: If-Match and If-None-Match apply.
        problems: the error statuses that only this operation has.
    """

    method: Method
    path: str
    handler: Handler
    answers: Mapping[HTTPStatus, type[StrictModel] | None]
    query: type[StrictModel] | None = None
    body: type[StrictModel] | None = None
    scope: Scope = "read"
    is_document: bool = False
    is_body_recorded: bool = False
    is_conditional: bool = False
    problems: tuple[HTTPStatus, ...] = ()

    @property
    def is_repeatable(self) -> bool:
        """Whether an Idempotency-Key applies."""
        return self.method == "POST" and self.scope == "write"

    @property
    def needs_body(self) -> bool:
        """Whether a request without a body is refused, because some field of the body is required."""
        if self.body is None:
            return False
        return self.is_document or any(each.is_required() for each in self.body.model_fields.values())

    @property
    def name(self) -> str:
        """The operationId."""
        return to_camel(self.handler.__name__)

    @property
    def description(self) -> str:
        """The description for people. Its first line is a summary."""
        return getdoc(self.handler) or ""

    @property
    def takes_id(self) -> bool:
        """Whether the operation is about one subscription."""
        return ID in self.path
