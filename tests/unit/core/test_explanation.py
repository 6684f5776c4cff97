"""Which comparison makes a filter reject an event, and the sentence about it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.explanation import Mismatch, explain
from pipeline.core.filters import ParsedEvent
from pipeline.core.model import PlainEvent
from pipeline.subscriptions.filters import event_filter
from tests.support.filters import filters

BODY = {"order": {"state": "paid", "count": 3}, "a/b~": "x"}
HEADERS = [("ce_type", b"order.paid"), ("region", b"eu-1"), ("region", b"us-\xff\x1b"), ("long", b"x" * 100)]
EVENT = PlainEvent("orders", 0, 0, b"customer-7", json.dumps(BODY).encode(), HEADERS)


def explained(document: dict[str, Any]) -> list[str]:
    return [str(each) for each in explain(event_filter(document, "filter").expression, ParsedEvent(EVENT))]


@pytest.mark.parametrize(
    ("document", "sentences"),
    [
        ({"exact": {"type": "order.paid"}}, []),
        ({"exact": {"type": "order.sent"}}, ['type is "order.paid"; it must be "order.sent"']),
        ({"exact": {"source": ["a", "b"]}}, ['source has no value; it must be "a" or "b"']),
        ({"prefix": {"key": "order-"}}, ['key is "customer-7"; it must begin with "order-"']),
        ({"suffix": {"/order/count": "4"}}, ['/order/count is "3"; it must end with "4"']),
        ({"exact": {"/order": "x"}}, ['/order has no value; it must be "x"']),
        ({"exact": {"/a~1b~0": "y"}}, ['/a~1b~0 is "x"; it must be "y"']),
        (
            {"prefix": {"header.region": ["ap-", "sa-", "ca-"]}},
            ['header.region is "eu-1" and "us-\\\\xff\\u001b"; it must begin with "ap-", "sa-" or "ca-"'],
        ),
        ({"exact": {"header.long": "y"}}, [f'header.long is "{"x" * 59}…; it must be "y"']),
        (
            {"exact": {"type": [str(number) for number in range(8)]}},
            ['type is "order.paid"; it must be "0", "1", "2", "3", "4" or 3 more'],
        ),
        ({"not": {"suffix": {"type": "paid"}}}, ['type is "order.paid"; it must not end with "paid"']),
        (
            {"exact": {"type": "order.paid", "source": "a", "/order/state": "new"}},
            ['source has no value; it must be "a"', '/order/state is "paid"; it must be "new"'],
        ),
        (
            {"any": [{"exact": {"type": "a"}}, {"all": [{"exact": {"key": "customer-7"}}, {"exact": {"type": "b"}}]}]},
            ['type is "order.paid"; it must be "a"', 'type is "order.paid"; it must be "b"'],
        ),
        (
            {"not": {"any": [{"exact": {"type": "a"}}, {"exact": {"key": "customer-7"}}]}},
            ['key is "customer-7"; it must not be "customer-7"'],
        ),
        (
            {"not": {"all": [{"prefix": {"type": "order"}}, {"not": {"exact": {"key": "a"}}}]}},
            ['type is "order.paid"; it must not begin with "order"', 'key is "customer-7"; it must be "a"'],
        ),
    ],
)
def test_failed_comparisons_are_named(document: dict[str, Any], sentences: list[str]) -> None:
    assert explained(document) == sentences


@given(filters, st.sampled_from([None, b'{"n": "a"}', b'{"d": {"n": "1"}}']))
def test_every_rejection_has_a_reason(document: dict[str, Any], body: bytes | None) -> None:
    event = PlainEvent("orders", 0, 0, b"a", body, [("ce_type", b"ab"), ("h", b"b"), ("h", b"1")])
    found = explain(event_filter(document, "filter").expression, ParsedEvent(event))
    assert bool(found) is not event_filter(document, "filter")(event)
    assert len(set(found)) == len(found)
    assert all(_holds(each) for each in found)


COMPARE: dict[str, Callable[[str, str], bool]] = {"exact": str.__eq__, "prefix": str.startswith, "suffix": str.endswith}


def _holds(mismatch: Mismatch) -> bool:
    """Whether *mismatch* is correct: the found texts do not compare as the filter requires."""
    compare = COMPARE[mismatch.dialect]
    return any(compare(each, text) for each in mismatch.found for text in mismatch.wanted) is mismatch.is_excluded
