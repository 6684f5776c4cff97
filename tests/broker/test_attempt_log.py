"""The attempt log on each kind of broker. Writes to the log never delay deliveries."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.cluster import attempt_log
from pipeline.cluster.attempt_log import AttemptLog
from pipeline.cluster.attempt_recorder import AttemptRecorder
from pipeline.cluster.attempts import Entry, Results, Session, decode
from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.connection import KafkaConnection
from pipeline.observability.telemetry import Telemetry
from tests.support.brokers import TestBroker
from tests.support.core import subscription
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(60)

SUB = subscription("sub-1")


class Log:
    """An attempt log, and methods that report to it like a core."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self.topic = topic
        self.telemetry = Telemetry()
        clock = SystemClock()
        self.recorder = AttemptRecorder(self.telemetry, WebhookIds(), worker="w", mode="all", clock=clock)
        self.log = AttemptLog(
            connection,
            topic,
            self.recorder,
            mode="all",
            worker="w",
            clock=clock,
            on_dropped=self.telemetry.attempt_log_dropped,
        )

    def deliver(self, *offsets: int) -> None:
        for offset in offsets:
            self.recorder.attempt_started()
            self.recorder.attempted(SUB, PlainEvent("events", 0, offset, b"sub-1", b""), 1, Delivered(200), 0.001)


@asynccontextmanager
async def logging(broker: TestBroker, topic: str) -> AsyncIterator[Log]:
    log = Log(broker.connection, topic)
    await log.log.start()
    try:
        yield log
    finally:
        await log.log.close()


async def written(broker: TestBroker, topic: str) -> tuple[list[Entry], list[Results], list[Session]]:
    records = [decode(record.value) for record in await broker.read(topic)]
    results = [each for each in records if isinstance(each, Results)]
    return (
        [entry for each in results for entry in each.of()],
        results,
        [each for each in records if isinstance(each, Session)],
    )


async def test_all_recorded_results_are_written(broker: TestBroker, unique_name: Callable[[str], str]) -> None:
    topic = await broker.create_topic(unique_name("attempts"), 2)
    async with logging(broker, topic) as log:
        log.deliver(3, 4)
        await broker.wait_for(topic, 2)  # the session, the results
        log.deliver(5)
    entries, results, sessions = await written(broker, topic)
    assert [each.webhook_id for each in entries] == ["events-0-3", "events-0-4", "events-0-5"]
    assert not any(each.lost for each in results)
    assert [each.is_closed for each in sessions] == [False, True]
    assert log.telemetry.attempt_log_drops == 0


async def test_entries_are_dropped_until_the_missing_topic_exists(
    broker: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_log, "RETRY_SECONDS", 0.1)
    topic = unique_name("attempts")
    async with logging(broker, topic) as log:
        log.deliver(3, 4)

        async def is_counted() -> bool:
            return log.telemetry.attempt_log_drops == 2

        await eventually(is_counted, within_seconds=20, says=lambda: f"{log.telemetry.attempt_log_drops} dropped")
        await broker.create_topic(topic, 1)
        await broker.wait_for(topic, 2)
        log.deliver(9)
    entries, results, _ = await written(broker, topic)
    assert [each.webhook_id for each in entries] == ["events-0-9"]
    assert [lost for each in results for lost in each.lost] == [(2, 3, 4)]
    assert log.telemetry.attempt_log_drops == 2


async def test_a_bug_is_counted_and_does_not_end_the_attempt_log(
    embedded: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_log, "RETRY_SECONDS", 0.1)
    topic = await embedded.create_topic(unique_name("attempts"), 1)

    class Faulty(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send(self, *_: Any, **__: Any) -> None:
            raise AssertionError("Unrecognised partition")

    async with logging(embedded, topic) as log:
        with monkeypatch.context() as patched:
            patched.setattr(attempt_log, "AIOKafkaProducer", Faulty)
            log.deliver(3, 4)

            async def is_counted() -> bool:
                return log.telemetry.attempt_log_drops == 2

            await eventually(is_counted, within_seconds=20, says=lambda: f"{log.telemetry.attempt_log_drops} dropped")
        log.deliver(5)
        await embedded.wait_for(topic, 2)
    entries, _, _ = await written(embedded, topic)
    assert [each.webhook_id for each in entries] == ["events-0-5"]


async def test_the_attempt_log_waits_for_no_unavailable_broker(
    embedded: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_log, "REQUEST_TIMEOUT_MS", 500)
    monkeypatch.setattr(attempt_log, "RETRY_SECONDS", 0.1)
    topic = await embedded.create_topic(unique_name("attempts"), 1)
    assert embedded.mock is not None
    async with logging(embedded, topic) as log:
        log.deliver(1)
        await embedded.wait_for(topic, 2)
        embedded.mock.down()
        log.deliver(2)

        async def is_counted() -> bool:
            return log.telemetry.attempt_log_drops >= 1

        await eventually(is_counted, within_seconds=30, says=lambda: f"{log.telemetry.attempt_log_drops} dropped")
        embedded.mock.up()

        async def is_written() -> bool:
            log.deliver(3)
            return any(each.webhook_id == "events-0-3" for each in (await written(embedded, topic))[0])

        await eventually(is_written, within_seconds=30, says=lambda: "nothing is written")
    _, results, _ = await written(embedded, topic)
    assert (1, 2, 2) in [lost for each in results for lost in each.lost]


async def test_the_log_can_be_read_as_plain_json(broker: TestBroker, unique_name: Callable[[str], str]) -> None:
    topic = await broker.create_topic(unique_name("attempts"), 1)
    async with logging(broker, topic) as log:
        log.deliver(3, 4)
    [value] = [json.loads(record.value or b"") for record in await broker.read(topic) if record.key == b"events/0/late"]
    assert value["delivered"] == [["sub-1", "receiver.example", 1, 200, [3, 1], [1, 1]]]
