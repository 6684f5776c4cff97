"""Which events match a filter, and which filters are valid."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigurationError
from pipeline.core.model import PlainEvent
from pipeline.subscriptions.filters import MAX_COMPARISONS, MAX_DEPTH, event_filter
from tests.support.filters import filters, texts

BINARY = [
    ("ce_type", b"com.example.order.paid"),
    ("ce_source", b"/shops/1"),
    ("ce_subject", "Käse".encode()),
    ("content-type", b"application/json"),
    ("region", b"eu-1"),
    ("region", b"us-2"),
]
BODY = {
    "order": {"state": "paid", "total": 12.50, "count": 3, "gift": True, "note": None, "lines": ["a", "b"]},
    "a/b": "slash",
    "m~n": "tilde",
    "": "empty",
}
EVENT = PlainEvent("events", 0, 1, b"s", json.dumps(BODY).encode(), BINARY)
STRUCTURED = PlainEvent(
    "events",
    0,
    2,
    b"s",
    json.dumps({"specversion": "1.0", "type": "t.paid", "count": 7, "sure": True, "data": {"state": "new"}}).encode(),
    [("Content-Type", b"application/cloudevents+json; charset=utf-8"), ("ce_type", b"not looked at")],
)


def wants(document: object, event: PlainEvent = EVENT) -> bool:
    return event_filter(document, "filter")(event)


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"exact": {"type": "com.example.order.paid"}}, True),
        ({"exact": {"type": "com.example.order"}}, False),
        ({"exact": {"type": "COM.example.order.paid"}}, False),
        ({"prefix": {"type": "com.example."}}, True),
        ({"suffix": {"type": ".paid"}}, True),
        ({"suffix": {"type": ".sent"}}, False),
        ({"exact": {"subject": "Käse"}}, True),
        ({"exact": {"datacontenttype": "application/json"}}, True),
        ({"prefix": {"missing": ""}}, False),
        ({"exact": {"type": "com.example.order.paid", "source": "/shops/1"}}, True),
        ({"exact": {"type": "com.example.order.paid", "source": "/shops/2"}}, False),
        ({"exact": {"header.region": "us-2"}}, True),
        ({"prefix": {"header.region": "eu-"}}, True),
        ({"exact": {"header.Region": "us-2"}}, False),
        ({"exact": {"/order/state": "paid"}}, True),
        ({"exact": {"/order/total": "12.5"}}, True),
        ({"exact": {"/order/count": "3"}}, True),
        ({"exact": {"/order/gift": "true"}}, True),
        ({"exact": {"/order/note": "null"}}, False),
        ({"prefix": {"/order": ""}}, False),
        ({"exact": {"/order/lines/1": "b"}}, True),
        ({"exact": {"/order/lines/2": "b"}}, False),
        ({"exact": {"/order/lines/01": "b"}}, False),
        ({"exact": {"/order/lines/-": "b"}}, False),
        ({"exact": {"/order/state/deeper": "paid"}}, False),
        ({"exact": {"/a~1b": "slash", "/m~0n": "tilde", "/": "empty"}}, True),
        ({"exact": {"key": "s"}}, True),
        ({"prefix": {"key": "t"}}, False),
        ({"exact": {"type": ["x", "com.example.order.paid"]}}, True),
        ({"exact": {"type": ["x", "com.example.order"]}}, False),
        ({"exact": {"type": ["com.example.order.paid"], "source": ["/shops/2", "/shops/3"]}}, False),
        ({"prefix": {"header.region": ["ap-", "us-"]}}, True),
        ({"prefix": {"header.region": ["ap-", "us-3"]}}, False),
        ({"suffix": {"/order/state": ["open", "id"]}}, True),
        ({"suffix": {"/order/state": ["open", "ids"]}}, False),
        ({"not": {"exact": {"/order/count": ["2", "3"]}}}, False),
        ({"not": {"exact": {"type": "x"}}}, True),
        ({"not": {"prefix": {"type": "com"}}}, False),
        ({"all": [{"prefix": {"type": "com"}}, {"suffix": {"type": "paid"}}]}, True),
        ({"all": [{"prefix": {"type": "com"}}, {"suffix": {"type": "sent"}}]}, False),
        ({"any": [{"prefix": {"type": "org"}}, {"suffix": {"type": "paid"}}]}, True),
        ({"any": [{"prefix": {"type": "org"}}, {"suffix": {"type": "sent"}}]}, False),
        ({"any": [{"not": {"any": [{"exact": {"type": "x"}}]}}]}, True),
    ],
)
def test_a_filter_matches_as_documented(document: dict[str, Any], wanted: bool) -> None:
    assert wants(document) is wanted


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"exact": {"type": "t.paid"}}, True),
        ({"exact": {"count": "7"}}, True),
        ({"exact": {"sure": "true"}}, True),
        ({"exact": {"/data/state": "new"}}, True),
        ({"exact": {"type": "not looked at"}}, False),
    ],
)
def test_a_structured_event_s_attributes_come_from_its_body(
    document: dict[str, Any],
    wanted: bool,
) -> None:
    assert wants(document, STRUCTURED) is wanted


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"n": NaN}',
        b'{"n": 1} trailing',
        b'"text"',
        b"[]",
        b'{"n": ' + b"9" * 10_000 + b"}",
        b'{"n": "\\ud800"}',
        b'{"n": "1", "n": "1"}',
        b'{"type": "1", "n": ["1", {"x": 1, "x": 1}]}',
        '{"n": "1", "type": "1"}'.encode("utf-16"),
        b'{"n": "1", "type": "1", "x": "\xe9"}',
    ],
)
def test_any_body_is_filtered_without_an_error(body: bytes | None) -> None:
    event = PlainEvent("events", 0, 1, b"s", body, [("content-type", b"application/cloudevents+json")])
    for key in ("/n", "/n/0", "type"):
        assert not wants({"exact": {key: "1"}}, event)
        assert wants({"not": {"exact": {key: "1"}}}, event)


@pytest.mark.parametrize(
    ("content_type", "wanted"),
    [(b"APPLICATION/CloudEvents+JSON ;charset=utf-8", True), (b"application/cloudevents+jsonl", False)],
)
def test_only_the_media_type_makes_an_event_structured(content_type: bytes, wanted: bool) -> None:
    event = PlainEvent("events", 0, 1, b"s", b'{"type": "a"}', [("content-type", content_type)])
    assert wants({"exact": {"type": "a"}}, event) is wanted


def test_key_means_the_record_key_and_not_an_attribute() -> None:
    event = PlainEvent("events", 0, 1, b"record", b'{"key": "body"}', [("ce_key", b"attribute")])
    assert wants({"exact": {"key": "record", "header.ce_key": "attribute", "/key": "body"}}, event)
    assert not wants({"exact": {"key": ["attribute", "body"]}}, event)


def test_a_missing_key_does_not_match_an_empty_prefix() -> None:
    for key, wanted in ((None, False), (b"", True)):
        assert wants({"prefix": {"key": ""}}, PlainEvent("events", 0, 1, key, None)) is wanted


def test_numbers_are_compared_as_text() -> None:
    event = PlainEvent("events", 0, 1, b"s", b'{"n": 1.0, "big": 123456789012345678901234567890, "n2": 1e3}')
    assert wants({"exact": {"/n": "1.0", "/big": "123456789012345678901234567890", "/n2": "1e3"}}, event)
    assert not wants({"exact": {"/n": "1"}}, event)


def test_a_body_that_no_filter_compares_is_not_read() -> None:
    class Untouchable(PlainEvent):
        """An event whose body must not be read."""

        @property
        def value(self) -> bytes | None:
            raise AssertionError("the body was read")

        @value.setter
        def value(self, _value: bytes | None) -> None:
            """Do nothing: frozen dataclasses set this attribute once."""

    event = EVENT
    assert wants({"exact": {"/order/state": "paid"}}, event)
    guarded = object.__new__(Untouchable)
    object.__setattr__(guarded, "headers", BINARY)
    assert wants({"all": [{"exact": {"header.region": "eu-1"}}, {"prefix": {"type": "com"}}]}, guarded)


P = "configuration.filter"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], f"{P}: must be an object with one of exact, prefix"),
        ({}, f"{P}: has 0 fields; allowed: exactly one of"),
        ({"exact": {"type": "a"}, "prefix": {"type": "a"}}, f"{P}: has 2 fields; allowed: exactly one of"),
        ({"like": {"type": "a"}}, f'{P}: unknown operator "like"; allowed: exact, prefix'),
        ({"sql": "type = 'a'"}, f"{P}.sql: CloudEvents SQL is not supported"),
        ({"exact": {}}, f"{P}.exact: must be an object with at least one key"),
        ({"exact": {"type": 1}}, f"{P}.exact.type: must be a string or a list of strings; numbers and booleans are"),
        ({"suffix": {"type": []}}, f"{P}.suffix.type: must be a string or a list with at least one string"),
        ({"exact": {"type": ["a", 1]}}, f"{P}.exact.type[1]: must be a string; numbers and booleans are compared"),
        ({"exact": {"key": [["a"]]}}, f"{P}.exact.key[0]: must be a string"),
        ({"exact": {"Type": "a"}}, f'{P}.exact: "Type" is not a valid key; allowed: a CloudEvents attribute'),
        ({"exact": {"data": "a"}}, f'{P}.exact: "data" is not a valid key'),
        ({"exact": {"header.": "a"}}, f'{P}.exact: "header." is not a valid key'),
        ({"exact": {"/a~2": "a"}}, f'{P}.exact: "/a~2" contains a ~ that is neither'),
        ({"all": []}, f"{P}.all: must be a list with at least one filter"),
        ({"any": [{"exact": {"type": "a"}}, 5]}, f"{P}.any[1]: must be an object"),
        ({"not": [{"exact": {"type": "a"}}]}, f"{P}.not: must be an object"),
    ],
)
def test_a_mistake_is_refused_with_its_path(document: object, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        event_filter(document, P)
    assert str(caught.value).startswith(sentence)


def test_the_depth_and_the_size_of_a_filter_are_limited() -> None:
    deep: dict[str, Any] = {"exact": {"type": "a"}}
    for _ in range(MAX_DEPTH - 1):
        deep = {"not": deep}
    event_filter(deep, P)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        event_filter({"not": deep}, P)
    with pytest.raises(ConfigurationError, match=f"is comparison number {MAX_COMPARISONS + 1}"):
        event_filter({"all": [{"exact": {"type": "a"}}] * (MAX_COMPARISONS + 1)}, P)
    values = [str(number) for number in range(MAX_COMPARISONS - 1)]
    event_filter({"exact": {"type": values, "key": "a"}}, P)
    with pytest.raises(ConfigurationError, match=f"is comparison number {MAX_COMPARISONS + 1}"):
        event_filter({"exact": {"type": values, "key": ["a", "b"]}}, P)


COMPARE: dict[str, Callable[[str, str], bool]] = {"exact": str.__eq__, "prefix": str.startswith, "suffix": str.endswith}


def naive(document: dict[str, Any], found: dict[str, list[str]]) -> bool:
    """A literal implementation of the specification's dialects, over the texts of each part of an event."""
    [(name, value)] = document.items()
    if name == "all":
        return all(naive(part, found) for part in value)
    if name == "any":
        return any(naive(part, found) for part in value)
    if name == "not":
        return not naive(value, found)
    return all(
        any(
            COMPARE[name](each, text)
            for each in found[place]
            for text in ([texts] if isinstance(texts, str) else texts)
        )
        for place, texts in value.items()
    )


@given(filters, st.tuples(texts, texts, texts), st.lists(texts, max_size=3), st.none() | texts, st.booleans())
def test_any_filter_agrees_with_a_naive_implementation(
    document: dict[str, Any], singles: tuple[str, str, str], headers: list[str], number: str | None, flag: bool
) -> None:
    kind, extra, key = singles
    body: dict[str, Any] = {"d": {"n": flag}}
    if number is not None:
        body["n"] = number
    event = PlainEvent(
        "events",
        0,
        0,
        key.encode(),
        json.dumps(body).encode(),
        [("ce_type", kind.encode()), ("ce_x", extra.encode()), *(("h", value.encode()) for value in headers)],
    )
    found = {
        "type": [kind],
        "x": [extra],
        "key": [key],
        "header.h": headers,
        "/n": [] if number is None else [number],
        "/d/n": ["true" if flag else "false"],
    }
    assert event_filter(document, P)(event) is naive(document, found)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["exact", "prefix", "suffix", "all", "any", "not", "sql", "type", "key", "/x", "header.y"])
            | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_any_value_is_a_filter_or_an_error_with_its_path(document: object) -> None:
    try:
        made = event_filter(document, P)
    except ConfigurationError as error:
        problems: Sequence[str] = error.problems
    else:
        problems = []
        assert made(EVENT) in {True, False}
    assert all(problem.startswith(P) for problem in problems)
