"""The fields of a document about topics and the subscription's beginning, and which of them an edit keeps."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.config.definition import Definition
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import Routing
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.envelope import parse_stored, parse_subscription
from pipeline.subscriptions.schema import ResumeFrom, WireSubscription
from pipeline.subscriptions.start_offsets import (
    check_beginning,
    check_command,
    check_routing,
    with_same_beginning,
    with_topic,
)

UNSAID = Definition("shop", Source(KafkaConnection(("k:9092",)), "orders"))
KEY = replace(UNSAID, stated_routing=Routing.KEY)
MATCH = replace(UNSAID, stated_routing=Routing.MATCH)
GUARDED = replace(MATCH, require_filter=True)
FILTER = {"exact": {"type": "paid"}}
NOW = 1_800_000_000.0
START = {"orders": {"offsets": [4, 2]}}


def document(*, filter_: object = None, **more: object) -> dict[str, Any]:
    return {"id": "s", "configuration": {"callbackUrl": "https://example.com", "filter": filter_}, **more}


def wanted(**more: Any) -> WireSubscription:
    return parse_subscription(document(**more))


def stored(**more: Any) -> WireSubscription:
    return parse_stored(document(start=START, **more))


def refused(subscription: WireSubscription, definition: Definition) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        check_routing(subscription, definition)
    return caught.value.problems


def test_topics_and_a_start_are_refused_with_routing_by_key() -> None:
    check_routing(wanted(topics=None, startFrom=None), KEY)
    topics, start_from = refused(wanted(topics=["orders"], startFrom="now"), KEY)
    assert topics.startswith("topics: is only allowed with routing: match; ")
    assert start_from.startswith("startFrom: is only allowed with routing: match; ")


def test_with_match_the_topics_must_be_source_topics() -> None:
    check_routing(wanted(topics=["orders"], startFrom="earliest"), MATCH)
    assert refused(wanted(topics=["orders", "odrers", "x"]), MATCH) == [
        'topics[1]: "odrers" is not a source topic; did you mean orders?',
        'topics[2]: "x" is not a source topic; known here: orders',
    ]


@pytest.mark.parametrize(
    ("resume", "problem"),
    [
        ({"partition": 0, "offset": 1}, "resumeFrom.topic: is required, because there are several: orders, payments"),
        ({"skip": {"partition": 0, "offset": 1}}, "resumeFrom.skip.topic: is required, because there are several: "),
        ({"topic": "order", "partition": 0, "offset": 1}, 'resumeFrom.topic: "order" is not a source topic; '),
        ({"topic": "payments", "partition": 0, "offset": 1}, None),
        ({"timestamp": "2026-01-01T00:00:00Z"}, None),
    ],
)
@pytest.mark.parametrize("definition", [KEY, MATCH], ids=["key", "match"])
def test_with_several_topics_a_command_has_to_name_one(
    resume: dict[str, Any], problem: str | None, definition: Definition
) -> None:
    several = replace(definition, source=replace(definition.source, topic="orders", others=("payments",)))
    if problem is None:
        check_routing(wanted(resumeFrom=resume), several)
        return
    [found] = refused(wanted(resumeFrom=resume), several)
    assert found.startswith(problem)


@pytest.mark.parametrize("definition", [KEY, MATCH], ids=["key", "match"])
def test_with_one_topic_a_command_applies_to_it(definition: Definition) -> None:
    read = ResumeFrom.model_validate({"skip": {"partition": 0, "offset": 1}})
    named = with_topic(read, definition)
    assert named is not None
    assert named.skip is not None
    assert named.skip.topic == definition.source.topic


def test_nothing_is_applied_while_the_routing_is_unknown() -> None:
    [problem] = refused(wanted(), UNSAID)
    assert "routing: is required" in problem


def test_a_definition_may_require_a_filter_or_topics() -> None:
    check_routing(wanted(filter_=FILTER), GUARDED)
    check_routing(wanted(topics=["orders"]), GUARDED)
    [problem] = refused(wanted(), GUARDED)
    assert problem == (
        "configuration.entrypointConfiguration.filter: the definition (requireFilter) requires a filter or topics; "
        'without both, "s" would get every event of orders'
    )


def test_a_start_in_the_future_is_refused() -> None:
    for text in (None, "now", "earliest", "2026-01-01T00:00:00Z", "group:g"):
        check_beginning(wanted(startFrom=text), NOW)
    with pytest.raises(ConfigurationError, match=r'^startFrom: "2030-01-01T00:00:00Z" is in the future; allowed: '):
        check_beginning(wanted(startFrom="2030-01-01T00:00:00Z"), NOW)


def test_a_replay_does_not_begin_in_the_future() -> None:
    for resume in (None, {"partition": 0, "offset": 5}, {"timestamp": "2020-01-01T00:00:00Z"}):
        check_command(wanted(resumeFrom=resume).resume_from, NOW)
    with pytest.raises(ConfigurationError, match=r'^resumeFrom.timestamp: "2030-01-01T00:00:00Z" is in the future'):
        check_command(wanted(resumeFrom={"timestamp": "2030-01-01T00:00:00Z"}).resume_from, NOW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, None),
        (None, "now"),
        ("now", None),
        ("earliest", None),
        ("earliest", "earliest"),
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"),
        ("group:g", "group:g"),
    ],
)
def test_an_edit_keeps_the_start(before: str | None, after: str | None) -> None:
    found = with_same_beginning(wanted(startFrom=after), stored(startFrom=before, createdRevision=3))
    assert found == stored(startFrom=before, createdRevision=3)


@pytest.mark.parametrize(
    ("before", "after"), [(None, "earliest"), ("earliest", "now"), ("now", "group:g"), ("group:g", "group:h")]
)
def test_an_edit_that_asks_for_another_start_is_refused(before: str | None, after: str) -> None:
    began = f'"{before or "now"}"'
    said = f'^startFrom: "{after}" is for a new subscription only, .* began at {began}; write {began}, or .* replay$'
    with pytest.raises(ConfigurationError, match=said):
        with_same_beginning(wanted(startFrom=after), stored(startFrom=before))
