"""Runs of a redrive, against a dead-letter topic and a source topic in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import pytest
from aiokafka import TopicPartition

from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.errors import BrokerError
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Failed, Outcome, Rejected, ServerError
from pipeline.core.policy import Reason
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.dead_letters import headers_of
from pipeline.kafka.letters import LetterFilter, newest
from pipeline.kafka.redrive import ALL, SKIPPED, Marks, Redrive, Redriven, Scope
from pipeline.kafka.topics import Source

IDS = WebhookIds((b"key",))
SOURCE = Source(KafkaConnection(("k:9092",)), "events", others=("others",))


class Place(NamedTuple):
    partition: int
    offset: int


class Offset(NamedTuple):
    offset: int


@dataclass
class Topics:
    """Both topics, each with one partition.

    Attributes:
        letters: the dead letters.
        groups: the committed offset of each group.
        steps: what happened, in its order: "topic value" of each confirmed event, and "commit offset".
        written: the events in the source topics.
    """

    letters: Sequence[PlainEvent]
    groups: dict[str, int] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    written: list[PlainEvent] = field(default_factory=list)
    group: str = ""

    @property
    def ends(self) -> Mapping[int, int]:
        return {0: len(self.letters)}

    async def batches(self, _number: int, start: int) -> AsyncIterator[Sequence[PlainEvent]]:
        yield self.letters[start:]

    async def commit(self, _number: int, offset: int) -> None:
        self.steps.append(f"commit {offset}")
        self.groups[self.group] = offset

    async def list_consumer_group_offsets(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, Offset]:
        return {each: Offset(self.groups.get(group, -1)) for each in partitions}

    async def send(
        self, topic: str, value: bytes | None, key: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> "asyncio.Future[Place]":
        assert (key, value) != (None, None), "aiokafka refuses such a record"
        place = Place(3, 100 + len(self.written))
        self.written.append(PlainEvent(topic, *place, key, value, headers))
        confirmed: asyncio.Future[Place] = asyncio.get_running_loop().create_future()

        def confirm() -> None:
            self.steps.append(f"{topic} {(value or b'').decode()}")
            confirmed.set_result(place)

        asyncio.get_running_loop().call_soon(confirm)
        return confirmed

    async def redrive(
        self, scope: Scope = ALL, limit: int | None = None, routing: Routing = Routing.KEY, ids: WebhookIds = IDS
    ) -> list[Redriven]:
        self.group = scope.group("app")
        this = cast("Any", self)
        marks = Marks(this, "app", [TopicPartition("letters", 0)])
        run = Redrive(this, marks, this, SOURCE, scope, limit, routing, ids)
        return [result async for result in run.run()]


def letter(
    number: int,
    subscription: str = "sub-1",
    reason: Reason = "rejected",
    *,
    topic: str = "events",
    outcome: Outcome | None = None,
    ids: WebhookIds = IDS,
) -> PlainEvent:
    event = PlainEvent(topic, 0, number, subscription.encode(), b"%d" % number, [("a", b"b")])
    url = "https://me:planted@example.com/hook?key=planted"
    headers = headers_of(DeadLetterRecord(event, reason, outcome, subscription=subscription, url=url), ids)
    return replace(event, topic="letters", headers=headers, timestamp=1_000 * number)


async def test_letters_are_committed_after_they_are_written() -> None:
    topics = Topics([letter(0), letter(1, topic="others"), letter(2)])
    await topics.redrive()
    assert topics.steps == ["events 0", "others 1", "events 2", "commit 3"]
    assert await topics.redrive() == []


async def test_a_limit_leaves_the_other_letters_for_later_runs() -> None:
    topics = Topics([letter(0), letter(1, "sub-9", "unknown-subscription"), letter(2), letter(3)])
    for _ in range(3):
        await topics.redrive(limit=1)
    # A letter that is passed over does not count.
    assert topics.steps == ["events 0", "commit 1", "events 2", "commit 3", "events 3", "commit 4"]


async def test_a_letter_that_is_passed_over_is_not_written() -> None:
    topics = Topics([letter(0, "sub-9", "unknown-subscription"), letter(1)])
    assert [result.place for result in await topics.redrive()] == [None, "events-3-100"]
    assert [result.place for result in await topics.redrive(SKIPPED)] == ["events-3-101"]
    assert topics.steps == ["events 1", "commit 2", "events 0", "commit 2"]


async def test_what_another_scope_has_redriven_is_not_repeated() -> None:
    topics = Topics([letter(0), letter(1, "sub-2"), letter(2)], groups={"app.redrive.sub-1": 2})
    assert [result.letter.place for result in await topics.redrive()] == ["letters-0-1", "letters-0-2"]
    topics = Topics([letter(0), letter(1, "sub-2"), letter(2)], groups={"app.redrive": 2})
    assert [result.letter.place for result in await topics.redrive(Scope("sub-1"))] == ["letters-0-2"]


async def test_without_the_offsets_of_a_group_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object, **__: object) -> dict[TopicPartition, Offset]:
        return {}

    topics = Topics([letter(0)])
    monkeypatch.setattr(topics, "list_consumer_group_offsets", nothing)
    with pytest.raises(BrokerError, match=r"group app\.redrive: its offsets can't be read"):
        await topics.redrive()
    assert topics.steps == []


@pytest.mark.parametrize("routing", Routing)
async def test_a_result_has_the_id_with_which_the_event_is_sent(routing: Routing) -> None:
    retired = WebhookIds((b"retired",))
    forged = replace(letter(1), headers=[("dlq.webhook-id", b"events-0-7"), ("dlq.subscription", b"sub-1"),
                                         ("dlq.topic", b"events")])  # fmt: skip
    topics = Topics([letter(0), forged, letter(2, ids=retired)])
    results = await topics.redrive(routing=routing)
    assert [result.webhook_id for result in results] == ["events-0-0", "events-3-101", "events-3-102"]
    assert [IDS.of(event) for event in topics.written] == [result.webhook_id for result in results]


async def test_an_event_without_key_and_value_is_redriven() -> None:
    empty = replace(letter(0), key=None, value=None)
    topics = Topics([empty])
    await topics.redrive(SKIPPED)
    assert [(event.key, event.value) for event in topics.written] == [(None, b"")]


@pytest.mark.parametrize(
    ("outcome", "status", "response"),
    [
        (Rejected(404, b"\xffno"), b"404", b"\xffno"),
        (ServerError(503, b""), b"503", b""),
        (Failed("no answer", may_have_arrived=True), None, None),
    ],
)
def test_a_letter_has_the_answer_but_no_secrets(outcome: Outcome, status: bytes | None, response: bytes | None) -> None:
    headers = dict(letter(0, outcome=outcome).headers)
    assert (headers.get("dlq.status"), headers.get("dlq.response")) == (status, response)
    assert headers["dlq.url"] == b"https://example.com/hook"
    assert "planted" not in str(headers)


async def test_the_newest_letters_are_found_by_every_filter() -> None:
    topics = Topics([letter(0), letter(1, "sub-2"), letter(2), letter(3, reason="expired")])

    async def found(limit: int = 9, **wanted: Any) -> list[str]:
        letters = await newest(cast("Any", topics), limit, LetterFilter(**wanted))
        return [each.place.rpartition("-")[2] for each in letters]

    assert await found() == ["0", "1", "2", "3"]
    assert await found(2) == ["2", "3"]
    assert await found(1, subscription="sub-1", reason="rejected") == ["2"]
    assert await found(since=2_000) == ["2", "3"]
    assert await found(among={"sub-2"}) == ["1"]
