"""The description of an operation of the API: its request, its answers and its scope.

Both the routes (serving.py) and the OpenAPI document (openapi.py) are made from it.
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
"""In a path: the id of a subscription, percent-encoded."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an operation, read and checked.

    Attributes:
        path: the parameters of the path.
        query: as the operation's `query` model; None without one.
        body: as the operation's `body` model, or as plain JSON for a `document`; None without one.
        condition: of If-Match and If-None-Match.
        principal: the caller.
        key: a digest of the Idempotency-Key and its sender; None without one.
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
class Answer:
    """The answer to a call; *body* as JSON.

    Attributes:
        changes: the revisions of several subscriptions that were changed, for the record.
    """

    body: Mapping[str, Any]
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, int] | None = None


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        path: as aiohttp and OpenAPI write it, with `{id}`.
        handler: its name is the operationId, its docstring the description.
        answers: the model of the answer by status, for success.
        query: the model of the query; its values are strings, whole numbers, booleans and lists of strings.
        body: the model of the body.
        scope: needed to call it.
        is_document: the body is a subscription, which the store validates: *body* only describes it.
        is_body_recorded: the body is written to the record of changes; it can't have a secret.
        is_conditional: If-Match and If-None-Match apply.
        problems: the statuses of problems that only this operation has.
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
        """Whether a request without a body is refused. The body may be left out if each of its fields may."""
        if self.body is None:
            return False
        return self.is_document or any(each.is_required() for each in self.body.model_fields.values())

    @property
    def name(self) -> str:
        """The operationId."""
        return to_camel(self.handler.__name__)

    @property
    def description(self) -> str:
        """The description for people; its first line is a summary."""
        return getdoc(self.handler) or ""

    @property
    def takes_id(self) -> bool:
        """Whether it is about one subscription."""
        return ID in self.path
