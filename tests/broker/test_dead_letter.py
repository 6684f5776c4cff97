"""Dead letters on each kind of broker: a dead letter counts only when the broker has confirmed it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.errors import NotDeadLetteredError
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Failed, Rejected
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.dead_letters import KafkaDeadLetterWriter, headers_of
from tests.support.brokers import TestBroker
from tests.support.failing_broker import Request

EVENT = PlainEvent(
    "events", 3, 41, b"sub-1", b'{"n": 1}', [("content-type", b"text/plain"), ("n", b"\xff\x00")], 1_700_000_000_123
)
LETTER = DeadLetterRecord(
    event=EVENT,
    reason="rejected",
    outcome=Rejected(422, b"no such customer"),
    attempts=2,
    first_attempt_at=1_700_000_001.5,
    last_attempt_at=1_700_000_011.25,
    subscription="sub-1",
    url="https://me:planted-password@example.com/hook?key=planted-key",
)
REQUEST_TIMED_OUT = 7


@asynccontextmanager
async def writing(broker: TestBroker, topic: str, failures: list[str]) -> AsyncIterator[KafkaDeadLetterWriter]:
    connection = KafkaConnection((broker.bootstrap,), embedded=broker.embedded)
    letters = KafkaDeadLetterWriter(connection, topic, failures.append)
    try:
        yield letters
    finally:
        await letters.close()


async def test_a_dead_letter_has_the_event_and_the_reason(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await broker.create_topic(unique_name("dlq"))
    async with writing(broker, topic, []) as letters:
        await letters.put(LETTER)
    (record,) = await broker.read(topic)
    assert (record.key, record.value) == (EVENT.key, EVENT.value)
    assert list(record.headers) == [
        ("content-type", b"text/plain"),
        ("n", b"\xff\x00"),
        ("dlq.reason", b"rejected"),
        ("dlq.status", b"422"),
        ("dlq.error", b"the callback answered 422"),
        ("dlq.attempts", b"2"),
        ("dlq.first-attempt-at", b"2023-11-14T22:13:21.500+00:00"),
        ("dlq.last-attempt-at", b"2023-11-14T22:13:31.250+00:00"),
        ("dlq.subscription", b"sub-1"),
        ("dlq.url", b"https://example.com/hook"),
        ("dlq.topic", b"events"),
        ("dlq.partition", b"3"),
        ("dlq.offset", b"41"),
        ("dlq.timestamp", b"1700000000123"),
        ("dlq.webhook-id", b"events-3-41"),
        ("dlq.response", b"no such customer"),
    ]


async def test_a_failed_write_of_a_dead_letter_is_repeated(
    embedded: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await embedded.create_topic(unique_name("dlq"))
    assert embedded.mock is not None
    embedded.mock.fail_next(Request.PRODUCE, [REQUEST_TIMED_OUT] * 3)
    async with writing(embedded, topic, []) as letters:
        await asyncio.wait_for(letters.put(LETTER), 20)
    assert len(await embedded.read(topic)) == 1


async def test_a_dead_letter_waits_for_a_broker_that_is_down(unique_name: Callable[[str], str]) -> None:
    failures: list[str] = []
    nowhere = KafkaDeadLetterWriter(KafkaConnection(("127.0.0.1:9",)), unique_name("dlq"), failures.append)
    waiting = asyncio.create_task(nowhere.put(LETTER))
    async with asyncio.timeout(20):
        while len(failures) < 2:  # noqa: ASYNC110 - a list can't be awaited
            await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await nowhere.close()
    assert all("planted" not in failure for failure in failures)


async def test_a_permanently_refused_letter_is_reported_at_once(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await kafka.create_topic(unique_name("dlq"), config={"max.message.bytes": "2000"})
    large = DeadLetterRecord(event=PlainEvent("events", 0, 1, b"sub-1", bytes(5000)), reason="rejected")
    async with writing(kafka, topic, []) as letters:
        with pytest.raises(NotDeadLetteredError, match=topic):
            await asyncio.wait_for(letters.put(large), 20)
        await letters.put(LETTER)
    assert len(await kafka.read(topic)) == 1


async def test_a_refused_letter_does_not_hold_up_later_ones(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await kafka.create_topic(unique_name("dlq"), config={"max.message.bytes": "2000"})
    large = DeadLetterRecord(event=PlainEvent("events", 0, 1, b"sub-1", bytes(5000)), reason="rejected")
    failures: list[str] = []
    async with writing(kafka, topic, failures) as letters:
        await letters.put(LETTER)  # from now on, the broker checks the sequence numbers of the producer
        with pytest.raises(NotDeadLetteredError):
            await letters.put(large)
        await asyncio.wait_for(letters.put(LETTER), 20)
    assert failures == []
    assert len(await kafka.read(topic)) == 2


async def test_an_event_without_key_and_value_is_dead_lettered(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await broker.create_topic(unique_name("dlq"))
    async with writing(broker, topic, []) as letters:
        await letters.put(DeadLetterRecord(event=PlainEvent("events", 0, 1, None, None), reason="undecodable"))
    (record,) = await broker.read(topic)
    assert (record.key, record.value) == (None, b"")


def test_a_second_dead_letter_has_the_newest_reason() -> None:
    again = PlainEvent("events", 0, 99, b"sub-1", b"", [("dlq.status", b"400"), ("x", b"1")])
    headers = headers_of(
        DeadLetterRecord(event=again, reason="exception", outcome=Failed("no route", may_have_arrived=False)),
        WebhookIds(),
    )
    assert ("x", b"1") in headers
    assert [value for name, value in headers if name == "dlq.status"] == []


def test_a_header_without_a_value_is_passed_on() -> None:
    event = PlainEvent("events", 3, 41, b"sub-1", b"", [("dlq.webhook-id", b""), ("x", b"")])
    headers = headers_of(DeadLetterRecord(event=event, reason="rejected"), WebhookIds())
    assert ("x", b"") in headers
    assert ("dlq.webhook-id", b"events-3-41") in headers


def test_no_dead_letter_contains_a_secret() -> None:
    assert not [value for _, value in headers_of(LETTER, WebhookIds()) if b"planted" in value]
