"""The index finds the same subscriptions for an event as evaluating each filter would."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.filters import AllOf, AnyOf, Attribute, Compare, EventFilter, Expression, ParsedEvent
from pipeline.core.matching import FEW, MOST_PATHS, SubscriptionIndex, _Node
from pipeline.core.model import Event, PlainEvent
from pipeline.core.subscription import Filter, Subscription
from pipeline.subscriptions.filters import event_filter
from tests.support.filters import filters

TYPE = Attribute("type")


def subscription(
    name: str, document: dict[str, Any] | Filter | None = None, *, topics: set[str] | None = None, broken: bool = False
) -> Subscription:
    return Subscription(
        name,
        1,
        "http://receiver.test",
        filter=event_filter(document, "filter") if isinstance(document, dict) else document,
        topics=None if topics is None else frozenset(topics),
        problem="its record is broken" if broken else None,
    )


def index(*subscriptions: Subscription) -> SubscriptionIndex:
    made = SubscriptionIndex()
    for each in subscriptions:
        made.update(each.id, each)
    return made


def event(body: object = None, *, topic: str = "orders", key: str | None = None, **attributes: str) -> PlainEvent:
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    return PlainEvent(topic, 0, 1, None if key is None else key.encode(), json.dumps(body).encode(), headers)


class Counted:
    """An event that counts how often its body is read. Each read means that the body is parsed."""

    def __init__(self, record: PlainEvent) -> None:
        self.topic, self.partition, self.offset = record.topic, record.partition, record.offset
        self.timestamp, self.key, self.headers = record.timestamp, record.key, record.headers
        self._value = record.value
        self.reads = 0

    @property
    def value(self) -> bytes | None:
        self.reads += 1
        return self._value


@dataclass(frozen=True)
class Unasked:
    """A part of a filter that must not be evaluated."""

    def matches(self, _parsed: ParsedEvent) -> bool:
        raise AssertionError("a filter was evaluated although that was not necessary")


def nodes(made: SubscriptionIndex) -> list[_Node]:
    found = list(made._roots.values())
    for node in found:
        found.extend(
            below for branch in node.branches.values() for by_text in branch.values() for below in by_text.values()
        )
    return found


# ------------------------------------------------------------------- compared with evaluating every filter


def has_a_key_with_a(event: Event) -> bool:
    return (event.key or b"").startswith(b"a")


# There are few names and texts, so that random filters and events often match.
NAMES = "abcd"
short: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda dialect, place, value, more: {dialect: {place: value} | more},
    st.sampled_from(["exact", "exact", "prefix", "suffix"]),
    st.sampled_from(["type", "key", "header.h", "/n"]),
    st.sampled_from(["a", "ab", "b", "", ["a", "b"], ["ab", "a"]]),
    st.sampled_from([{}, {}, {"type": "a"}, {"key": ["ab", "a"]}]),
)
combined: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda name, parts: {name: parts[0] if name == "not" else parts},
    st.sampled_from(["all", "any", "not"]),
    st.lists(short, min_size=2, max_size=3),
)
made_or_changed = st.builds(
    lambda name, wanted, topics, broken: subscription(name, wanted, topics=topics, broken=broken),
    st.sampled_from(NAMES),
    st.one_of(short, short, combined, filters, st.sampled_from([None, has_a_key_with_a])),
    st.sampled_from([None, None, {"orders"}, {"payments", "other"}, set()]),
    st.sampled_from([False] * 9 + [True]),
)
changes = st.lists(
    st.one_of(made_or_changed, made_or_changed, made_or_changed, st.sampled_from(NAMES)), min_size=2, max_size=8
)
"""Revisions, and the ids of subscriptions that are deleted."""
events = st.builds(
    lambda topic, key, kind, values, body, media_type: PlainEvent(
        topic,
        0,
        0,
        key,
        json.dumps(body).encode(),
        [("content-type", media_type), ("ce_type", kind), ("ce_x", kind), *(("h", value) for value in values)],
    ),
    st.sampled_from(["orders", "payments"]),
    st.sampled_from([None, b"a", b"ab", b"b"]),
    st.sampled_from([b"a", b"ab", b"b"]),
    st.sampled_from([[], [b"a"], [b"ab", b"b"], [b"a", b"ab"]]),
    st.sampled_from([None, {"n": "a"}, {"n": "ab", "type": "a"}, {"type": "ab", "x": "b", "d": {"n": True}}]),
    st.sampled_from([b"application/json", b"application/json", b"application/cloudevents+json"]),
)


def wants(each: Subscription, record: Event) -> bool:
    """The expected result, from the subscription's filter alone."""
    if each.problem is not None:
        return True
    return (each.topics is None or record.topic in each.topics) and (each.filter is None or each.filter(record))


@settings(max_examples=400)
@given(changes, st.lists(events, min_size=1, max_size=3), st.sets(st.sampled_from(f"{NAMES}e")), st.booleans())
def test_the_index_agrees_with_evaluating_every_filter(
    steps: Sequence[Subscription | str], records: Sequence[PlainEvent], among: set[str], many: bool
) -> None:
    made = SubscriptionIndex()
    there: dict[str, Subscription] = {}
    asked = {name.encode() for name in among} | ({str(number).encode() for number in range(FEW)} if many else set())
    for step in steps:
        if isinstance(step, str):
            there.pop(step, None)
            made.update(step, None)
        else:
            there[step.id] = step
            made.update(step.id, step)
        for record in records:
            expected = sorted(name.encode() for name, each in there.items() if wants(each, record))
            assert list(made.keys(record)) == expected
            assert list(made.keys(record, asked)) == [key for key in expected if key in asked]


@given(changes)
def test_a_deletion_leaves_nothing_in_the_index(steps: Sequence[Subscription | str]) -> None:
    made = SubscriptionIndex()
    for step in steps:
        made.update(step if isinstance(step, str) else step.id, None if isinstance(step, str) else step)
    for name in NAMES:
        made.update(name, None)
    assert made.keys(event(key="a", type="a")) == ()
    assert set(nodes(made)) == set(made._roots.values())


# ------------------------------------------------------------------- single filters


def test_results_are_sorted_whatever_the_order_of_updates() -> None:
    made = index(
        subscription("c", {"exact": {"type": "paid"}}),
        subscription("ä"),
        subscription("b", {"prefix": {"type": "p"}}),
        subscription("a", {"suffix": {"type": "d"}}),
    )
    assert made.keys(event(type="paid")) == (b"a", b"b", b"c", "ä".encode())


def test_an_update_replaces_the_former_filter() -> None:
    made = index(subscription("a", {"exact": {"type": "x"}}), subscription("b", {"exact": {"type": "x"}}))
    assert made.keys(event(type="x")) == (b"a", b"b")
    made.update("c", subscription("c", {"exact": {"type": "x"}}))
    assert made.keys(event(type="x")) == (b"a", b"b", b"c")
    made.update("a", subscription("a", {"exact": {"type": "y"}}))
    assert made.keys(event(type="x")) == (b"b", b"c")
    made.update("b", None)
    made.update("c", subscription("c", {"exact": {"type": "x", "key": "k"}}))
    assert made.keys(event(type="x", key="k")) == (b"c",)
    assert made.keys(event(type="y", key="k")) == (b"a",)


def test_a_revision_with_an_equal_filter_changes_nothing() -> None:
    wanted = {"exact": {"type": ["x", "y"]}}
    made = index(subscription("a", wanted, topics={"orders"}), subscription("b", wanted))
    before = nodes(made), made.keys(event(type="y"))
    made.update("a", replace(subscription("a", wanted, topics={"orders"}), revision=2))
    assert nodes(made) == before[0]
    assert made.keys(event(type="y")) == before[1] == (b"a", b"b")


def test_a_deletion_keeps_subscriptions_with_more_conditions() -> None:
    made = index(subscription("a", {"exact": {"key": "k"}}), subscription("b", {"exact": {"key": "k", "type": "x"}}))
    made.update("a", None)
    assert made.keys(event(key="k", type="x")) == (b"b",)


def test_every_text_of_a_list_finds_the_subscription() -> None:
    made = index(
        subscription("a", {"exact": {"type": ["x", "y"]}}), subscription("b", {"prefix": {"type": ["xx", "y"]}})
    )
    assert [made.keys(event(type=each)) for each in ("x", "xx", "y", "z")] == [(b"a",), (b"b",), (b"a", b"b"), ()]


def test_a_broken_subscription_matches_every_event() -> None:
    made = index(subscription("a", {"exact": {"type": "x"}}, topics={"other"}, broken=True))
    assert made.keys(event()) == (b"a",)
    assert made.keys(event(), [b"a"]) == (b"a",)


def test_a_subscription_may_be_limited_to_some_topics() -> None:
    made = index(subscription("a", topics={"orders", "payments"}), subscription("b", {"exact": {"type": "x"}}))
    assert made.keys(event(type="x")) == (b"a", b"b")
    assert made.keys(event(topic="other", type="x")) == (b"b",)
    assert made.keys(event(topic="other"), [b"a"]) == ()


def test_a_subscription_with_several_paths_is_found_once() -> None:
    made = index(
        subscription("a", {"any": [{"exact": {"type": "x"}}, {"exact": {"key": "k"}}]}),
        subscription(
            "b", {"any": [{"exact": {"type": "x"}}, {"all": [{"exact": {"type": "x"}}, {"suffix": {"key": ""}}]}]}
        ),
        subscription("c", {"prefix": {"type": ["", "x"]}}),
    )
    assert made.keys(event(type="x", key="k")) == (b"a", b"b", b"c")
    assert made.keys(event(type="y", key="k")) == (b"a", b"c")


def test_a_filter_that_can_t_be_indexed_is_always_evaluated() -> None:
    made = index(subscription("a", lambda event: event.offset == 1))
    assert made.keys(event()) == (b"a",)
    assert made.keys(PlainEvent("orders", 0, 2, None, None)) == ()


def test_equal_results_are_the_same_tuple() -> None:
    made = index(*(subscription(str(number)) for number in range(100)))
    everything = made.keys(event(type="x"))
    assert len(everything) == 100
    assert made.keys(event(type="y")) is everything
    made = index(*(subscription(str(number), {"exact": {"type": "x"}}) for number in range(10)))
    assert made.keys(event(type="x")) is made.keys(event(type="x"))


@pytest.mark.parametrize("among", [[b"a"], {b"a", *(str(number).encode() for number in range(FEW))}])
def test_only_the_given_subscriptions_are_considered(among: Sequence[bytes]) -> None:
    made = index(subscription("a"), subscription("b"), subscription("c", EventFilter(Unasked())))
    assert made.keys(event(), among) == (b"a",)


def test_a_few_subscriptions_are_evaluated_without_the_tree() -> None:
    made = index(subscription("a", {"prefix": {"key": ""}}), subscription("b", {"exact": {"/n": "1"}}))
    counted = Counted(event({"n": 1}, key="k"))
    assert made.keys(counted, [b"a"]) == (b"a",)
    assert counted.reads == 0


def test_an_any_filter_is_indexed_only_if_all_its_parts_are() -> None:
    made = index(subscription("a", {"any": [{"exact": {"type": "x"}}, {"not": {"exact": {"type": "y"}}}]}))
    assert len(nodes(made)) == 1
    assert [made.keys(event(type=each)) for each in "xyz"] == [(b"a",), (), (b"a",)]


@pytest.mark.parametrize("combined", [AllOf, AnyOf])
def test_a_filter_that_the_index_rules_out_is_not_evaluated(combined: type[AllOf | AnyOf]) -> None:
    part: Expression = combined((Compare("exact", TYPE, (b"a", b"b")), Compare("prefix", TYPE, (b"c",))))
    made = index(subscription("a", EventFilter(AllOf((Unasked(), part)))))
    assert made.keys(event(type="d")) == ()


# ------------------------------------------------------------------- the body


LOOKS_INTO_BODY: list[dict[str, Any]] = [
    {"all": [{"exact": {"/n": "1"}}, {"exact": {"type": "a"}}]},
    {"all": [{"suffix": {"/n": "1"}}, {"prefix": {"type": "a"}}]},
    {"all": [{"not": {"exact": {"/n": "2"}}}, {"any": [{"exact": {"type": "a"}}, {"exact": {"header.h": "1"}}]}]},
    {"exact": {"/n": ["1", "2"], "key": "k"}},
    {"exact": {"/n": [str(number) for number in range(60)], "type": ["a", "b", "c"]}},
]


def test_the_body_is_parsed_once_for_all_filters() -> None:
    made = index(*(subscription(str(number), each) for number, each in enumerate(LOOKS_INTO_BODY * 2)))
    counted = Counted(event({"n": 1}, type="a", key="k"))
    assert len(made.keys(counted)) == 2 * len(LOOKS_INTO_BODY)
    assert counted.reads == 1
    counted = Counted(event({"n": 1}, type="a", key="k"))
    assert len(made.keys(counted, [b"0", b"1", b"2", b"3"])) == 4
    assert counted.reads == 1


def test_the_body_is_not_parsed_unless_a_candidate_needs_it() -> None:
    made = index(*(subscription(str(number), each) for number, each in enumerate(LOOKS_INTO_BODY)), subscription("all"))
    counted = Counted(event({"n": 1}, type="no", key="no"))
    assert made.keys(counted) == (b"all",)
    assert counted.reads == 0


# ------------------------------------------------------------------- size


def test_a_filter_with_many_alternatives_takes_bounded_memory() -> None:
    many = {name: [str(number) for number in range(30)] for name in ("type", "x", "y")}
    made = index(subscription("a", {"exact": many}))
    assert len(nodes(made)) <= MOST_PATHS
    assert made.keys(event(type="1", x="2", y="3")) == (b"a",)
    assert made.keys(event(type="1", x="2", y="30")) == ()
    long = EventFilter(Compare("exact", TYPE, tuple(str(number).encode() for number in range(MOST_PATHS + 1))))
    made.update("a", subscription("a", long))
    assert len(nodes(made)) == 1
    assert made.keys(event(type=str(MOST_PATHS))) == (b"a",)
