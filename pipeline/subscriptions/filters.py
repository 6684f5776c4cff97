"""Parses the `filter` of a subscription into the filters of core/filters.py.

{"exact": {"type": "com.example.paid"}}     an attribute of a CloudEvent
{"exact": {"type": ["a", "b"]}}             one of several values
{"prefix": {"header.region": "eu-"}}        a header of the record
{"suffix": {"/order/state": "paid"}}        a JSON pointer into the body
{"exact": {"key": "customer-7"}}            the key of the record
{"any": [{"exact": ...}, {"not": ...}]}     all, any and not combine other filters
"""

import re
from collections.abc import Mapping
from typing import Final

from pipeline.config.validation_messages import join
from pipeline.core.errors import ConfigurationError
from pipeline.core.filters import (
    HEADER_PREFIX,
    RECORD_KEY,
    AllOf,
    AnyOf,
    Attribute,
    Compare,
    Dialect,
    EventFilter,
    Expression,
    Not,
    Pointer,
    RecordHeader,
    RecordKey,
    Selector,
)
from pipeline.core.shown import shown

MAX_DEPTH: Final = 10
MAX_COMPARISONS: Final = 100
"""The largest number of comparisons in one filter. All of them may run for every event."""

_DIALECTS: Final = "exact, prefix, suffix, all, any, not"
# CloudEvents 1.0, section "Naming Conventions": "data" is not an attribute.
_ATTRIBUTE: Final = re.compile(r"(?!data\Z)[a-z0-9]+")
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


def event_filter(document: object, path: str) -> EventFilter:
    """The filter that *document* describes.

    Args:
        document: the parsed JSON.
        path: the path of *document*, for errors.

    Raises:
        ConfigurationError: names the path of the mistake, and what the path allows.
    """
    return EventFilter(_Compiler().expression(document, path, 1))


class _Compiler:
    """Compiles one filter, and counts its comparisons."""

    def __init__(self) -> None:
        self._comparisons = 0

    def expression(self, document: object, path: str, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise ConfigurationError(f"{path}: is nested too deeply; allowed: {MAX_DEPTH} levels")
        if not isinstance(document, Mapping):
            raise ConfigurationError(f"{path}: must be an object with one of {_DIALECTS}")
        if len(document) != 1:
            raise ConfigurationError(f"{path}: has {len(document)} fields; allowed: exactly one of {_DIALECTS}")
        [(name, value)] = document.items()
        match name:
            case "exact" | "prefix" | "suffix":
                return self._comparison(name, value, f"{path}.{name}")
            case "all" | "any":
                parts = self._parts(value, f"{path}.{name}", depth)
                return AllOf(parts) if name == "all" else AnyOf(parts)
            case "not":
                return Not(self.expression(value, f"{path}.not", depth + 1))
            case "sql":
                raise ConfigurationError(f"{path}.sql: CloudEvents SQL is not supported; allowed: {_DIALECTS}")
            case _:
                raise ConfigurationError(f"{path}: unknown operator {shown(str(name))}; allowed: {_DIALECTS}")

    def _parts(self, value: object, path: str, depth: int) -> tuple[Expression, ...]:
        if not isinstance(value, list) or not value:
            raise ConfigurationError(f"{path}: must be a list with at least one filter")
        return tuple(self.expression(part, f"{path}[{index}]", depth + 1) for index, part in enumerate(value))

    def _comparison(self, dialect: Dialect, value: object, path: str) -> Expression:
        if not isinstance(value, Mapping) or not value:
            raise ConfigurationError(f"{path}: must be an object with at least one key and its string")
        self._comparisons += sum(len(each) if isinstance(each, list) else 1 for each in value.values())
        if self._comparisons > MAX_COMPARISONS:
            raise ConfigurationError(
                f"{path}: is comparison number {self._comparisons}; a filter may have {MAX_COMPARISONS}"
            )
        parts = tuple(_compare(dialect, name, text, path) for name, text in value.items())
        return parts[0] if len(parts) == 1 else AllOf(parts)


def _compare(dialect: Dialect, name: object, value: object, path: str) -> Compare:
    if not isinstance(name, str):
        raise ConfigurationError(f"{path}: {shown(str(name))} must be a string")
    # For a string, the path is not computed: it is needed only for errors, and costs more than everything else here.
    texts = (_encoded(value),) if isinstance(value, str) else _texts(value, join(path, name))
    return Compare(dialect, _selector(name, path), texts)


def _texts(value: object, path: str) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        raise _not_text(path, "must be a string or a list of strings")
    if not value:
        raise ConfigurationError(f"{path}: must be a string or a list with at least one string")
    for index, each in enumerate(value):
        if not isinstance(each, str):
            raise _not_text(f"{path}[{index}]", "must be a string")
    return tuple(map(_encoded, value))


def _not_text(path: str, demand: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {demand}; numbers and booleans are compared as they are written in JSON")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _selector(name: str, path: str) -> Selector:
    if name == RECORD_KEY:
        return RecordKey()
    if name.startswith("/"):
        if _BAD_ESCAPE.search(name):
            raise ConfigurationError(f"{path}: {shown(name)} contains a ~ that is neither ~0 nor ~1 (RFC 6901)")
        return Pointer(tuple(token.replace("~1", "/").replace("~0", "~") for token in name[1:].split("/")))
    header = name.removeprefix(HEADER_PREFIX)
    if header != name and header:
        return RecordHeader(header)
    if not _ATTRIBUTE.fullmatch(name):
        raise ConfigurationError(
            f"{path}: {shown(name)} is not a valid key; allowed: a CloudEvents attribute (lower-case letters and "
            f"digits), {RECORD_KEY} for the record's key, {HEADER_PREFIX}NAME for a record header, "
            "/a/b for a JSON pointer into the body"
        )
    return Attribute(name)
