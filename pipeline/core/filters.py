"""Filters that select the events of a subscription, in the dialects of the CloudEvents Subscriptions API. Pure.

A filter is compiled once per revision (subscriptions/filters.py) and evaluated once per event. It compares attributes
of a CloudEvent, the headers and the key of the record, and values in the body (by JSON pointer). Only the parts of an
event that the filter compares are parsed, the body at most once. A missing part matches nothing. Filters never raise.

Sources: CloudEvents Subscriptions API 1.0-wip, section 3.2.4 "Filters"; Kafka binding 1.0.2; RFC 6901 "JSON Pointer".
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pipeline.core.model import CLOUD_EVENT_PREFIX, Event

_STRUCTURED: Final = b"application/cloudevents+json"
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_CONTENT_TYPE: Final = "content-type"
_CONTENT_TYPE_ATTRIBUTE: Final = "datacontenttype"

RECORD_KEY: Final = "key"
"""How a filter names the record's key. A CloudEvents attribute called `key` is at `header.ce_key`, or at `/key` in the
body of a structured event."""

HEADER_PREFIX: Final = "header."
"""The prefix of a record header's name in a filter."""

Dialect = Literal["exact", "prefix", "suffix"]
"""How a text is compared; always case-sensitive."""

Json = dict[str, "Json"] | list["Json"] | str | bool | None
"""A JSON value whose numbers are strings, as they were written."""


class ParsedEvent:
    """The parts of one event that filters compare.

    All filters share this object, so the body is parsed at most once.
    """

    __slots__ = ("_body", "_content_type", "_headers", "_is_parsed", "_is_structured", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._headers: dict[str, bytes] | None = None
        self._content_type: tuple[bytes, ...] | None = None
        self._is_structured = False
        self._is_parsed = False
        self._body: Json = None

    def key(self) -> Sequence[bytes]:
        """The key of the record, if it has one."""
        key = self.event.key
        return () if key is None else (key,)

    def header(self, name: str) -> Sequence[bytes]:
        """The values of every record header called *name*."""
        headers = self._headers
        if headers is None:
            headers = self._headers = dict(self.event.headers)
        if len(headers) == len(self.event.headers):
            value = headers.get(name)
            return () if value is None else (value,)
        # A header name occurs more than once.
        return [value for key, value in self.event.headers if key == name and value is not None]

    def attribute(self, name: str) -> Sequence[bytes]:
        """An attribute of the CloudEvent: from the headers in binary mode, from the body in structured mode."""
        content_type = self._content_type
        if content_type is None:
            content_type = self._content_type = self._find_content_type()
        if self._is_structured:
            body = self.body()
            return _texts(body.get(name)) if isinstance(body, dict) else ()
        if name == _CONTENT_TYPE_ATTRIBUTE:
            return content_type
        return self.header(CLOUD_EVENT_PREFIX + name)[:1]

    def _find_content_type(self) -> tuple[bytes, ...]:
        for key, value in self.event.headers:
            if value and len(key) == len(_CONTENT_TYPE) and key.lower() == _CONTENT_TYPE:
                self._is_structured = value.partition(b";")[0].strip().lower() == _STRUCTURED
                return (value,)
        return ()

    def pointed(self, tokens: tuple[str, ...]) -> Sequence[bytes]:
        """The string, number or boolean at a JSON pointer into the body (RFC 6901 section 4)."""
        value = self.body()
        for token in tokens:
            if isinstance(value, dict):
                if token not in value:
                    return []
                value = value[token]
            elif isinstance(value, list):
                if not _INDEX.fullmatch(token) or int(token) >= len(value):
                    return []
                value = value[int(token)]
            else:
                return []
        return _texts(value)

    def body(self) -> Json:
        """The body; None if it is not JSON in UTF-8, or an object has a duplicate key."""
        if not self._is_parsed:
            self._is_parsed = True
            self._body = _parsed(self.event.value)
        return self._body


def _parsed(value: bytes | None) -> Json:
    if not value:
        return None
    try:
        parsed: Json = _DECODER.decode(value.decode())
    except (ValueError, RecursionError):
        return None
    return parsed


def _refuse(name: str) -> str:
    raise ValueError(f"{name} is not JSON (RFC 8259 section 6)")


def _unambiguous(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # The filter might compare one of the two values, and the receiver might use the other one.
        raise ValueError("duplicate key in an object (RFC 7493 section 2.3)")
    return members


_DECODER: Final = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=_refuse, object_pairs_hook=_unambiguous
)


def _texts(value: Json) -> Sequence[bytes]:
    if isinstance(value, bool):
        return [b"true" if value else b"false"]
    if isinstance(value, str):
        return [value.encode("utf-8", "surrogatepass")]
    return []


class Selector(Protocol):
    """A part of an event that a filter compares."""

    @property
    def place(self) -> str:
        """The name of the part in a filter."""

    def found(self, parsed: ParsedEvent) -> Sequence[bytes]:
        """The texts of the part, in UTF-8: none, one, or several for a repeated header."""


@dataclass(frozen=True, slots=True)
class RecordKey:
    """The key of the record."""

    @property
    def place(self) -> str:
        """`key`."""
        return RECORD_KEY

    def found(self, parsed: ParsedEvent) -> Sequence[bytes]:
        """The key, if the record has a key."""
        return parsed.key()


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a CloudEvent."""

    name: str

    @property
    def place(self) -> str:
        """The name of the attribute."""
        return self.name

    def found(self, parsed: ParsedEvent) -> Sequence[bytes]:
        """The value of the attribute, if the event has it."""
        return parsed.attribute(self.name)


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """A header of the record."""

    name: str

    @property
    def place(self) -> str:
        """`header.NAME`."""
        return HEADER_PREFIX + self.name

    def found(self, parsed: ParsedEvent) -> Sequence[bytes]:
        """The values of the header."""
        return parsed.header(self.name)


@dataclass(frozen=True, slots=True)
class Pointer:
    """A JSON pointer into the body, as its unescaped reference tokens."""

    tokens: tuple[str, ...]

    @property
    def place(self) -> str:
        """The pointer, escaped."""
        return "".join(f"/{each.replace('~', '~0').replace('/', '~1')}" for each in self.tokens)

    def found(self, parsed: ParsedEvent) -> Sequence[bytes]:
        """The value, unless it is an object, a list or null."""
        return parsed.pointed(self.tokens)


class Expression(Protocol):
    """A filter, or a part of one."""

    def matches(self, parsed: ParsedEvent) -> bool:
        """Whether the event matches."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Matches if a selected text equals, begins with, or ends with one of the given texts."""

    dialect: Dialect
    selector: Selector
    texts: tuple[bytes, ...]

    def matches(self, parsed: ParsedEvent) -> bool:
        """Whether one of the selected texts matches."""
        found, texts = self.selector.found(parsed), self.texts
        match self.dialect:
            case "exact":
                return any(each in texts for each in found)
            case "prefix":
                return any(each.startswith(texts) for each in found)
            case "suffix":
                return any(each.endswith(texts) for each in found)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches if all parts match."""

    parts: tuple[Expression, ...]

    def matches(self, parsed: ParsedEvent) -> bool:
        """Whether all parts match."""
        return all(part.matches(parsed) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches if at least one part matches."""

    parts: tuple[Expression, ...]

    def matches(self, parsed: ParsedEvent) -> bool:
        """Whether at least one part matches."""
        return any(part.matches(parsed) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """Matches if its part does not match."""

    part: Expression

    def matches(self, parsed: ParsedEvent) -> bool:
        """Whether its part does not match."""
        return not self.part.matches(parsed)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A whole filter: `subscription.Filter`."""

    expression: Expression

    def __call__(self, event: Event) -> bool:
        """Whether *event* matches the filter."""
        return self.expression.matches(ParsedEvent(event))
