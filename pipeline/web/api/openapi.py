"""Describes operations as OpenAPI 3.1. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipeline.core.keys import LONGEST_ID
from pipeline.web.api.models import Delivery, ProblemDetails
from pipeline.web.api.operations import Operation
from pipeline.web.problem import CONTENT_TYPE

REFERENCE: Final = "#/components/schemas/{model}"
JSON: Final = "application/json"

_ALWAYS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_CONDITIONS: Final = (
    {
        "name": "If-Match",
        "in": "header",
        "schema": {"type": "string"},
        "description": (
            'Make the change only at this revision: the ETag of an answer, such as `"42"`; `*`: only if it exists.'
        ),
    },
    {
        "name": "If-None-Match",
        "in": "header",
        "schema": {"const": "*"},
        "description": "Make the change only if the subscription does not exist.",
    },
)

_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "description": "Within a day, a request that is repeated with the same key is carried out only once, "
    "whichever workers get it.",
}

_ID: Final = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}

_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The admin token, or a signed JSON Web Token."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": (
            "Any user name, and the admin token as the password. Read access only, except from a page of the worker."
        ),
    },
}


def describe(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI document of *operations*."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "webhook-pipeline",
            "version": version,
            "description": "The subscriptions of a webhook pipeline. Any worker answers for all subscriptions.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(operations), "securitySchemes": _SECURITY},
        "security": [{"bearer": []}, {"password": []}],
    }


def _schemas(operations: Iterable[Operation]) -> Mapping[str, Any]:
    models: set[type[BaseModel]] = {ProblemDetails, Delivery}
    for operation in operations:
        models |= {model for model in (operation.body, *operation.answers.values()) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema([(model, "validation") for model in ordered], ref_template=REFERENCE)
    found: dict[str, Any] = schema["$defs"]
    return found


def _operation(operation: Operation) -> dict[str, Any]:
    description = operation.description
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": description.partition("\n")[0].rstrip("."),
        "description": f"{description}\n\nScope: `{operation.scope}`.",
        "parameters": _parameters(operation),
        "responses": {
            **{str(int(status)): _answer(status, model) for status, model in operation.answers.items()},
            **{str(int(status)): _problem(status) for status in sorted({*_problems(operation)})},
        },
    }
    if operation.body is not None:
        found["requestBody"] = {
            "required": operation.needs_body,
            "content": {JSON: {"schema": _reference(operation.body)}},
        }
    return found


def _parameters(operation: Operation) -> list[Mapping[str, Any]]:
    names = re.findall(r"{(\w+)}", operation.path)
    found: list[Mapping[str, Any]] = [{"name": name, "in": "path", "required": True, "schema": _ID} for name in names]
    if operation.query is not None:
        schema = operation.query.model_json_schema(ref_template=REFERENCE)
        required = schema.get("required", ())
        found += [_in_query(name, each, required=name in required) for name, each in schema["properties"].items()]
    if operation.is_conditional:
        found += _CONDITIONS
    if operation.is_repeatable:
        found.append(_KEY)
    return found


def _in_query(name: str, schema: Mapping[str, Any], *, required: bool) -> Mapping[str, Any]:
    # A parameter that may be left out is never null, so it needs no second type.
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    shape = choices[0] if choices else schema
    plain = {key: value for key, value in shape.items() if key not in {"title", "description"}}
    style = {"style": "deepObject", "explode": True} if plain.get("type") == "object" else {}
    text = shape.get("description") or schema.get("description", "")
    return {"name": name, "in": "query", "required": required, "schema": plain, "description": text, **style}


def _problems(operation: Operation) -> Iterable[HTTPStatus]:
    yield from _ALWAYS
    yield from operation.problems
    if operation.takes_id and operation.method != "PUT":
        yield HTTPStatus.NOT_FOUND
    if operation.is_repeatable:
        yield HTTPStatus.CONFLICT
        yield HTTPStatus.UNPROCESSABLE_ENTITY
    if operation.is_conditional:
        yield HTTPStatus.PRECONDITION_FAILED
    if operation.body is not None:
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        yield HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def _answer(status: HTTPStatus, model: type[BaseModel] | None) -> dict[str, Any]:
    content = {} if model is None else {"content": {JSON: {"schema": _reference(model)}}}
    return {"description": status.phrase, **content}


def _problem(status: HTTPStatus) -> dict[str, Any]:
    return {"description": status.phrase, "content": {CONTENT_TYPE: {"schema": _reference(ProblemDetails)}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
