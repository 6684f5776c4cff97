"""Parses JSON body, query, If-Match and If-None-Match of a request. Every mistake becomes a sentence."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NoReturn, get_args

from aiohttp import hdrs, web
from multidict import MultiMapping

from pipeline.config.model_fields import alias
from pipeline.config.schema import StrictModel, read
from pipeline.config.validation_messages import nearest
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import kind, printable, shown
from pipeline.subscriptions.edits import ALWAYS, Condition
from pipeline.web.api.operations import Call, Operation
from pipeline.web.principal import Principal

JSON: Final = "application/json"

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")

_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([0-9]{1,19})"')
"""Weak tags match, too: a proxy that compresses an answer makes its tag weak, but the revision in it is exact."""


class RefusedError(Exception):
    """The API refuses the request with this status."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


async def read_call(operation: Operation, request: web.Request, principal: Principal) -> Call:
    """Parse a request to *operation*.

    Raises:
        ConfigurationError: a part can't be used; one sentence per mistake.
        RefusedError: the content type of the body is not JSON.
    """
    return Call(
        dict(request.match_info),
        read_query(operation.query, request.query),
        await _body(operation, request),
        read_condition(request.headers) if operation.is_conditional else ALWAYS,
        principal,
        _key(operation, request, principal),
    )


def _key(operation: Operation, request: web.Request, principal: Principal) -> str | None:
    """A digest of the Idempotency-Key and its sender: two senders may use the same key.

    Raises:
        ConfigurationError: the key can't be used.
    """
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None or operation.scope == "read":
        return None
    if operation.scope == "secrets":
        raise ConfigurationError(
            f"{IDEMPOTENCY_KEY}: is not allowed here, because the answer contains a secret and is not stored; send a "
            "`secret` of your own: then a repeated request is answered with 409 and changes nothing"
        )
    if not operation.is_repeatable:
        return None
    if not _KEY.fullmatch(key):
        raise ConfigurationError(
            f"{IDEMPOTENCY_KEY}: {shown(key)} is not allowed; allowed: 1 to 255 printable ASCII characters"
        )
    sender = json.dumps([principal.name, sorted(principal.tenant.items()), key])
    return hashlib.sha256(sender.encode()).hexdigest()


async def _body(operation: Operation, request: web.Request) -> Any:
    if operation.body is None:
        await _refuse_fields(operation, request)
        return None
    if not request.can_read_body and not operation.needs_body:
        return read(operation.body, {})
    if request.content_type != JSON:
        raise RefusedError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type: {shown(request.headers.get(hdrs.CONTENT_TYPE))} is not allowed; allowed: {JSON}",
        )
    document = parse_json(await _data(request))
    return document if operation.is_document else _read(operation.body, document)


async def _refuse_fields(operation: Operation, request: web.Request) -> None:
    """Refuse a body with fields, such as `dryRun`, if the operation would ignore them and make a change."""
    if operation.scope == "read" or not request.can_read_body:
        return
    data = await _data(request)
    document = parse_json(data) if data.strip() else {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"body: must be an empty object, not {kind(document)}")
    if document:
        raise ConfigurationError([f"{printable(name)}: unknown field; {nearest(name, [])}" for name in document])


def _read(model: type[StrictModel], document: object) -> StrictModel:
    try:
        return read(model, document)
    except ConfigurationError as error:
        whole = "document:"  # begins an error about the whole document, because `read` also reads files
        raise ConfigurationError(
            [f"body:{each.removeprefix(whole)}" if each.startswith(whole) else each for each in error.problems]
        ) from None


async def _data(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        most = request.client_max_size
        raise RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: is too large; allowed: at most {most} bytes"
        ) from None
    except web.RequestPayloadError:
        encoding = request.headers.get(hdrs.CONTENT_ENCODING)
        problem = (
            "body: is not complete" if encoding is None else f"Content-Encoding: the body is not {shown(encoding)}"
        )
        raise ConfigurationError(problem) from None


def parse_json(data: bytes) -> Any:
    """Parse JSON (RFC 8259) in UTF-8.

    Raises:
        ConfigurationError: *data* is not JSON, has a duplicate name, or is nested too deeply.
    """
    try:
        text = data.decode()
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigurationError("body: contains half of a surrogate pair, which is not valid Unicode") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"body: is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationError(f"body: {where}: is not JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigurationError("body: is nested too deeply") from None
    except ValueError:
        raise ConfigurationError("body: contains a number with too many digits") from None
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ConfigurationError(f"body: contains the name {shown(name)} twice in one object")
        result[name] = value
    return result


def _refuse(constant: str) -> NoReturn:
    raise ConfigurationError(f"body: {constant} is not JSON")


def _finite(text: str) -> float:
    found = float(text)
    if math.isinf(found):
        raise ConfigurationError(f"body: {shown(text)} is too large a number")
    return found


def read_query(model: type[StrictModel] | None, query: MultiMapping[str]) -> Any:
    """Parse the query as a *model*. Returns None without a model.

    If the model has a field `metadata`, `metadata.NAME=value` and `metadata[NAME]=value` are entries of it.

    Raises:
        ConfigurationError: a parameter is unknown, repeated or can't be used; one sentence per mistake.
    """
    fields = {} if model is None else {alias(name, field): field for name, field in model.model_fields.items()}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name in dict.fromkeys(query):
        found = query.getall(name)
        base, entry = _entry(name) if "metadata" in fields else (name, None)
        if base not in fields:
            problems.append(f"{printable(name)}: unknown parameter; {nearest(name, list(fields))}")
        elif entry is not None:
            values.setdefault(base, {})[entry] = found[-1]
        elif _mentions(fields[base].annotation, list):
            values[base] = found
        elif len(found) > 1:
            problems.append(f"{printable(name)}: is given {len(found)} times; allowed: once")
        else:
            values[base] = _converted(found[0], fields[base].annotation)
    if problems:
        raise ConfigurationError(problems)
    return None if model is None else read(model, values)


def _entry(name: str) -> tuple[str, str | None]:
    if name.startswith("metadata."):
        return "metadata", name.removeprefix("metadata.")
    if name.startswith("metadata[") and name.endswith("]"):
        return "metadata", name[len("metadata[") : -1]
    return name, None


def _converted(text: str, annotation: object) -> object:
    if _mentions(annotation, bool):
        return {"true": True, "false": False}.get(text, text)
    if _mentions(annotation, int) and re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII):
        return int(text)
    return text


def _mentions(annotation: object, wanted: type) -> bool:
    origin = getattr(annotation, "__origin__", None)
    return wanted in (annotation, origin) or any(_mentions(part, wanted) for part in get_args(annotation))


def read_condition(headers: Mapping[str, str]) -> Condition:
    """The condition in If-Match and If-None-Match (RFC 9110 section 13).

    Raises:
        ConfigurationError: a header can't be used.
    """
    match, none_match = headers.get(hdrs.IF_MATCH), headers.get(hdrs.IF_NONE_MATCH)
    if none_match is not None:
        if none_match.strip() != "*" or match is not None:
            raise ConfigurationError(f"If-None-Match: {shown(none_match)} is not allowed; allowed: *, without If-Match")
        return Condition(exists=False)
    if match is None:
        return ALWAYS
    if match.strip() == "*":
        return Condition(exists=True)
    tags = [_ENTITY_TAG.fullmatch(each.strip()) for each in match.split(",")]
    if None in tags:
        raise ConfigurationError(
            f'If-Match: {shown(match)} is not a revision; allowed: an ETag of this API, such as "42" with its quotes, '
            "several with commas between them, or *"
        )
    return Condition(frozenset(int(tag[1]) for tag in tags if tag is not None))
