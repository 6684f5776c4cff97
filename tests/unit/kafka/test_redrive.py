"""The rules for which letters a redrive writes back and which it skips, without Kafka."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import pytest

from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Rejected
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka import redrive
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.dead_letters import headers_of
from pipeline.kafka.letters import LetterFacts, read_facts
from pipeline.kafka.redrive import (
    ALL,
    SKIPPED,
    Redrive,
    Scope,
    headers_back,
    headers_to,
    is_in,
    scopes_of,
    why_passed_over,
)
from pipeline.kafka.topics import Source

IDS = WebhookIds((b"key",))
ONE = Scope("sub-1")
OTHER = Scope("sub-2")
EVENT = PlainEvent("events", 2, 41, b"sub-1", b"{}", [("content-type", b"text/x"), ("traceparent", b"00-1")], 1_000)


def found(subscription: str | None = "sub-1", reason: str = "rejected", source: str | None = "events") -> LetterFacts:
    return LetterFacts(
        "letters-0-7", subscription, source, reason, 404, "gone", 1, "events-0-1", "2026-01-31T12:00:00Z"
    )


def buried(event: PlainEvent = EVENT) -> PlainEvent:
    """The dead letter of an event."""
    letter = DeadLetterRecord(
        event, "rejected", Rejected(404, b"not here"), 2, 1.0, 2.0, "sub-1", "https://example.com/?key=1"
    )
    return PlainEvent("letters", 0, 7, event.key, event.value, headers_of(letter, IDS), 3_000)


def test_the_facts_of_a_letter_come_from_its_headers() -> None:
    facts = read_facts(buried())

    assert facts == LetterFacts(
        place="letters-0-7",
        subscription="sub-1",
        source="events",
        reason="rejected",
        status=404,
        error="the callback answered 404",
        attempts=2,
        webhook_id="events-2-41",
        at="1970-01-01T00:00:02.000Z",
    )


@pytest.mark.parametrize("key", [None, b"", b"\xff"])
def test_a_record_of_another_program_is_described_too(key: bytes | None) -> None:
    facts = read_facts(PlainEvent("letters", 0, 7, key, None, [("dlq.error", b"\xff")], 3_000))

    assert facts == LetterFacts("letters-0-7", None, None, None, None, "\ufffd", None, None, "1970-01-01T00:00:03.000Z")


def test_long_headers_of_a_forged_letter_are_cut() -> None:
    names = ("webhook-id", "topic", "reason", "error", "subscription", "status", "last-attempt-at")
    letter = PlainEvent("letters", 0, 7, b"sub-1", None, [(f"dlq.{name}", b"9" * 1_000_000) for name in names])
    for routing in Routing:
        assert len(str(read_facts(letter, routing))) < 20_000
    assert read_facts(letter, Routing.MATCH).subscription is None


@pytest.mark.parametrize("text", [b"x", b"-1", b"9" * 5_000, "\u0663".encode(), b""])
def test_an_invalid_number_in_a_header_counts_as_unknown(text: bytes) -> None:
    headers = [("dlq.status", text), ("dlq.attempts", text), ("dlq.last-attempt-at", text)]
    facts = read_facts(PlainEvent("letters", 0, 7, b"s", None, headers, 3_000))
    assert (facts.status, facts.attempts, facts.at) == (None, None, "1970-01-01T00:00:03.000Z")


@pytest.mark.parametrize("timestamp", [-(2**60), 2**62])
def test_the_time_of_a_letter_is_unknown_if_it_is_invalid(timestamp: int) -> None:
    assert read_facts(PlainEvent("letters", 0, 7, b"sub-1", None, timestamp=timestamp)).at is None


def test_a_redrive_restores_the_event_and_its_sealed_first_id() -> None:
    *own, first_id, (name, _) = headers_back(buried())

    assert own == EVENT.headers
    assert first_id == ("dlq.webhook-id", b"events-2-41")
    assert name == "dlq.seal"


def test_an_event_dead_lettered_again_keeps_its_first_id() -> None:
    again = PlainEvent("events", 1, 99, b"sub-1", b"{}", headers_back(buried()), 4_000)

    assert headers_back(buried(again)) == headers_back(buried())


def test_with_match_a_letter_names_its_subscription() -> None:
    letter = buried(replace(EVENT, key=b"order-1"))

    assert read_facts(letter, Routing.MATCH).subscription == "sub-1"
    assert read_facts(letter, Routing.KEY).subscription == "order-1"
    unnamed = replace(letter, headers=[each for each in letter.headers if each[0] != "dlq.subscription"])
    assert read_facts(unnamed, Routing.MATCH).subscription is None


def test_with_match_a_redrive_goes_to_one_subscription() -> None:
    event = replace(EVENT, key=b"order-1")
    headers = headers_to("sub-1", buried(event), IDS)

    assert [name for name, _ in headers] == ["content-type", "traceparent", "dlq.webhook-id", "dlq.for", "dlq.seal"]
    back = replace(event, offset=99, headers=headers)
    assert (IDS.of(back), IDS.is_for(back, b"sub-1")) == ("events-2-41", True)
    assert headers_to("sub-1", buried(back), IDS) == headers
    assert [name for name, _ in headers_to("sub-1", buried(event), WebhookIds((b"new",)))][2:] == [
        "dlq.for",
        "dlq.seal",
    ]


def test_with_match_a_letter_without_an_id_is_never_redriven() -> None:
    for scope in (ALL, SKIPPED):
        assert why_passed_over(found(None, "undecodable"), scope, ("events",), Routing.MATCH) is not None
    assert why_passed_over(found(reason="unknown-subscription"), SKIPPED, ("events",), Routing.MATCH) is None


@pytest.mark.parametrize(
    ("letter", "scope", "is_redriven"),
    [
        (found(), ALL, True),
        (found(), ONE, True),
        (found(reason="unknown-subscription"), ALL, False),
        (found(reason="unknown-subscription"), ONE, True),
        (found(reason="unknown-subscription"), SKIPPED, True),
        (found(None, "undecodable"), ALL, False),
        (found(None, "undecodable"), SKIPPED, True),
        (found(source=None), ALL, True),
        (found(source="elsewhere"), ALL, False),
        (found(source="elsewhere"), ONE, False),
        (found(reason="unknown-subscription", source="elsewhere"), SKIPPED, False),
    ],
)
def test_letters_that_can_t_succeed_need_an_explicit_scope(
    letter: LetterFacts, scope: Scope, is_redriven: bool
) -> None:
    assert (why_passed_over(letter, scope, ("events",)) is None) == is_redriven


@pytest.mark.parametrize(
    ("letter", "scope", "belongs"),
    [
        (found(), ALL, True),
        (found(), ONE, True),
        (found(), OTHER, False),
        (found(), SKIPPED, False),
        (found(reason="unknown-subscription"), ALL, True),
        (found(reason="unknown-subscription"), SKIPPED, True),
        (found(None, "undecodable"), ONE, False),
    ],
)
def test_a_run_reports_only_letters_of_its_own_scope(letter: LetterFacts, scope: Scope, belongs: bool) -> None:
    assert is_in(letter, scope) == belongs


@pytest.mark.parametrize(
    ("letter", "scope", "others"),
    [
        (found(), ALL, [ONE]),
        (found(), ONE, [ALL]),
        (found(reason="unknown-subscription"), ONE, [SKIPPED]),
        (found(reason="unknown-subscription"), SKIPPED, [ONE]),
        (found(reason="unknown-subscription"), ALL, [SKIPPED, ONE]),
        (found(None, "undecodable"), SKIPPED, []),
    ],
)
def test_all_other_scopes_that_include_a_letter_are_considered(
    letter: LetterFacts, scope: Scope, others: list[Scope]
) -> None:
    assert [each for each in scopes_of(letter) if each != scope] == others


def test_every_scope_has_its_own_consumer_group() -> None:
    groups = [scope.group("app") for scope in (ALL, SKIPPED, ONE, Scope("skipped"), Scope(""))]

    assert len(set(groups)) == len(groups)


def test_a_letter_goes_back_to_its_own_source_topic() -> None:
    several = ("events", "others")
    assert why_passed_over(found("a"), SKIPPED, several) is None
    unsaid = replace(found("a"), source=None)
    assert why_passed_over(unsaid, SKIPPED, ("events",)) is None
    why = "no header says from which of these topics it came: events, others"
    assert why_passed_over(unsaid, SKIPPED, several) == why
    other = replace(found("a"), source="gone")
    assert why_passed_over(other, SKIPPED, several) == "it came from topic gone, not from events or others"


class Letters:
    """A dead-letter topic with one partition, without earlier redrives."""

    ends: ClassVar[dict[int, int]] = {0: 9}

    def __init__(self, *letters: PlainEvent) -> None:
        self._letters = letters

    async def batches(self, _number: int, _start: int) -> AsyncIterator[Sequence[PlainEvent]]:
        for letter in self._letters:
            yield [letter]

    async def of(self, _scope: Scope) -> dict[int, int]:
        return {}

    async def are_past(self, _letter: LetterFacts, _scopes: object) -> bool:
        return False


def letter_of(offset: int, event: str, subscription: str) -> PlainEvent:
    facts = {"webhook-id": event, "subscription": subscription, "topic": "events", "reason": "rejected"}
    headers = [(f"dlq.{name}", value.encode()) for name, value in facts.items()]
    return PlainEvent("letters", 0, offset, b"order-1", b"{}", headers)


async def test_an_event_dead_lettered_twice_is_redriven_once() -> None:
    letters = Letters(
        letter_of(0, "events-0-1", "a"),
        letter_of(1, "events-0-1", "b"),
        letter_of(2, "events-0-1", "a"),
        letter_of(3, "events-0-2", "a"),
    )
    source = Source(KafkaConnection(("k:9092",)), "events")
    dry = Redrive(cast("Any", letters), cast("Any", letters), None, source, ALL, None, Routing.MATCH, WebhookIds())
    found = [result async for result in dry.run()]
    assert [result.is_duplicate for result in found] == [False, False, True, False]
    assert [result.why_not is None for result in found] == [True, True, False, True]


async def test_only_the_newest_letters_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive, "MOST_SEEN", 3)
    letters = Letters(*(letter_of(offset, f"events-0-{offset}", "a") for offset in range(20)))
    source = Source(KafkaConnection(("k:9092",)), "events")
    dry = Redrive(cast("Any", letters), cast("Any", letters), None, source, ALL, None, Routing.MATCH, WebhookIds())
    assert [result.is_duplicate async for result in dry.run()] == [False] * 20
    assert len(dry.seen) == 3


@pytest.mark.parametrize(
    "change",
    [{"value": b"forged"}, {"value": None}, {"key": b"other"}, {"headers": [("type", b"forged")]}],
    ids=lambda change: next(iter(change)),
)
async def test_a_letter_with_a_copied_webhook_id_hides_no_other(change: dict[str, Any]) -> None:
    genuine = buried()
    facts = [each for each in genuine.headers if each[0].startswith("dlq.")]
    forged = replace(genuine, offset=6, **change | {"headers": [*change.get("headers", EVENT.headers), *facts]})
    letters, source = Letters(forged, genuine), Source(KafkaConnection(("k:9092",)), "events")
    for routing in Routing:
        dry = Redrive(cast("Any", letters), cast("Any", letters), None, source, ALL, None, routing, IDS)
        assert [result.why_not async for result in dry.run()] == [None, None]
