"""Reading the log again, on each kind of broker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest

from pipeline.core.model import Event
from pipeline.core.ports import Wanted
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.log_reader import LogReader
from tests.support.batches import Written, batch
from tests.support.brokers import TestBroker
from tests.support.waiting import eventually


class Reading:
    """A partition that needs to be read from one offset to another."""

    def __init__(self, number: int, start: int, stop: int) -> None:
        self.number = number
        self.place = start
        self.stop = stop
        self.keys = frozenset({b"sub-1"})
        self.read: list[int] = []
        self.begins_at: int | None = None
        self.is_streaming = False
        self.turns = 0
        self.turns_when_fed: list[int] = []
        self.done = asyncio.Event()

    def wanted(self) -> Wanted | None:
        return Wanted(self.place, self.keys) if self.place < self.stop else None

    def feed(self, wanted: Wanted, end: int, events: Sequence[Event]) -> None:
        assert wanted.start == self.place, "a stretch does not begin where it was requested"
        assert all(wanted.start <= event.offset < end for event in events)
        self.turns_when_fed.append(self.turns)
        self.read += [event.offset for event in events]
        self.place = end
        if end >= self.stop:
            self.done.set()

    def log_begins_at(self, offset: int) -> None:
        self.begins_at = self.place = offset


@asynccontextmanager
async def serving(broker: TestBroker, topic: str) -> AsyncIterator[LogReader]:
    backlog = LogReader(KafkaConnection((broker.bootstrap,), embedded=broker.embedded), topic)
    await backlog.start()
    try:
        yield backlog
    finally:
        await backlog.close()


@pytest.fixture
async def topic(broker: TestBroker, unique_name: Callable[[str], str]) -> str:
    name = await broker.create_topic(unique_name("events"), 2)
    for partition in range(2):
        await broker.produce(name, *[(b"sub-1", b"%d" % number) for number in range(1200)], partition=partition)
    return name


async def test_a_partition_is_read_in_order_from_its_position(broker: TestBroker, topic: str) -> None:
    async with serving(broker, topic) as backlog:
        reading = Reading(1, 100, 1200)
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        assert reading.read == list(range(100, 1200))


async def test_partitions_are_read_in_turn(broker: TestBroker, topic: str) -> None:
    async with serving(broker, topic) as backlog:
        readings = [Reading(0, 0, 1200), Reading(1, 700, 1200)]
        for reading in readings:
            backlog.wake(reading)
        for reading in readings:
            await asyncio.wait_for(reading.done.wait(), 30)
        assert [reading.read for reading in readings] == [list(range(1200)), list(range(700, 1200))]


async def test_a_partition_that_wants_no_events_yet_is_read_later(broker: TestBroker, topic: str) -> None:
    async with serving(broker, topic) as backlog:
        first, later = Reading(0, 0, 1200), Reading(1, 0, 0)
        backlog.wake(first)
        backlog.wake(later)
        await asyncio.wait_for(first.done.wait(), 30)
        later.stop = 1200
        backlog.wake(later)
        await asyncio.wait_for(later.done.wait(), 30)
        assert later.read == list(range(1200))


async def test_a_consumer_that_does_not_answer_is_replaced(
    broker: TestBroker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[AIOKafkaConsumer] = []
    position = AIOKafkaConsumer.position

    async def answers_not(self: AIOKafkaConsumer, place: TopicPartition) -> int:
        asked.append(self)
        if self is asked[0]:
            await asyncio.Event().wait()
        return int(await position(self, place))

    monkeypatch.setattr(AIOKafkaConsumer, "position", answers_not)
    monkeypatch.setattr("pipeline.kafka.log_reader.READ_SECONDS", 0.5)
    async with serving(broker, topic) as backlog:
        reading = Reading(0, 0, 1200)
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        assert reading.read == list(range(1200))
        assert len(set(asked)) == 2


async def test_unwanted_events_are_skipped(broker: TestBroker, topic: str) -> None:
    await broker.produce(topic, (b"sub-2", b"wanted"), partition=0)
    await broker.produce(topic, *[(b"sub-1", b"%d" % number) for number in range(300)], partition=0)
    async with serving(broker, topic) as backlog:
        reading = Reading(0, 0, 1501)
        reading.keys = frozenset({b"sub-2"})
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        assert 1200 in reading.read
        assert len(reading.read) < 150, "apart from the wanted event, only the last one of each batch is read"


async def test_each_read_uses_the_keys_that_are_wanted_now(broker: TestBroker, topic: str) -> None:
    await broker.produce(topic, *[(b"sub-%d" % (2 + number % 2), b"") for number in range(20)], partition=0)
    async with serving(broker, topic) as backlog:
        for key, first in ((b"sub-1", 0), (b"sub-2", 1200), (b"sub-3", 1201)):
            reading = Reading(0, 0, 1220)
            reading.keys = frozenset({key})
            backlog.wake(reading)
            await asyncio.wait_for(reading.done.wait(), 30)
            wanted = range(1200) if key == b"sub-1" else range(first, 1220, 2)
            assert set(reading.read) >= set(wanted), key


async def test_a_log_that_ends_with_a_marker_is_read_to_its_end(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    name = await kafka.create_topic(unique_name("events"))
    producer = AIOKafkaProducer(transactional_id=name, **kafka.connection.client_options())
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send(name, b"", b"sub-1")
    finally:
        await producer.stop()
    async with serving(kafka, name) as backlog:
        reading = Reading(0, 0, 2)
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        assert reading.read == [0]


async def test_aborted_events_are_not_counted(kafka: TestBroker, unique_name: Callable[[str], str]) -> None:
    """A skip checks whether the event to skip is the next one. A discard counts the discarded events."""
    name = await kafka.create_topic(unique_name("events"))
    producer = AIOKafkaProducer(transactional_id=name, **kafka.connection.client_options())
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(name, b"", b"sub-1")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send(name, b"", b"sub-1")
    finally:
        await producer.stop()
    async with serving(kafka, name) as backlog:
        assert await backlog.count(0, b"sub-1", 0, await backlog.end_of(0), None) == 1


async def test_the_log_reader_can_go_back_to_an_earlier_offset(broker: TestBroker, topic: str) -> None:
    async with serving(broker, topic) as backlog:
        for start in (900, 10, 500):
            reading = Reading(0, start, 1200)
            backlog.wake(reading)
            await asyncio.wait_for(reading.done.wait(), 30)
            assert reading.read == list(range(start, 1200))


async def test_a_partition_that_is_forgotten_is_not_read(broker: TestBroker, topic: str) -> None:
    async with serving(broker, topic) as backlog:
        forgotten, kept = Reading(0, 0, 1200), Reading(1, 0, 1200)
        backlog.wake(forgotten)
        backlog.forget(forgotten)
        backlog.wake(kept)
        await asyncio.wait_for(kept.done.wait(), 30)
        assert forgotten.read == []


@pytest.mark.parametrize("is_streaming", [False, True], ids=["alone", "beside the stream"])
async def test_other_tasks_run_while_a_long_stretch_is_read(
    broker: TestBroker, topic: str, *, is_streaming: bool
) -> None:
    async with serving(broker, topic) as backlog:
        reading = Reading(0, 0, 1200)
        reading.is_streaming = is_streaming

        async def take_turns() -> None:
            while not reading.done.is_set():
                reading.turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        await others
        steps = pairwise(reading.turns_when_fed)
        assert len(reading.turns_when_fed) > 3
        assert all(later > earlier for earlier, later in steps), reading.turns_when_fed


async def test_a_binary_header_name_does_not_stop_the_log_reader(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    name = await broker.create_topic(unique_name("events"))
    strange = Written(headers=[(b"x-\xff", b"1")])
    await broker.append(name, batch(*[Written(), strange] * 400))
    await broker.append(name, batch(strange, Written()))
    async with serving(broker, name) as backlog:
        reading = Reading(0, 0, 802)
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        assert reading.read == list(range(802))


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["at rest", "forgotten"])
async def test_a_partition_that_wants_no_events_is_not_fetched(
    kafka: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, *, is_forgotten: bool
) -> None:
    name = await kafka.create_topic(unique_name("events"), 2)
    for partition in range(2):
        await kafka.produce(name, *[(b"sub-1", b"") for _ in range(50)], partition=partition)
    asked_for: list[set[int]] = []
    send = AIOKafkaClient.send

    async def noted(self: Any, node_id: int, request: Any, **options: Any) -> Any:
        if isinstance(request, FetchRequest):
            asked_for.append({partition for _, places in request._topics for partition, *_ in places})
        return await send(self, node_id, request, **options)

    monkeypatch.setattr(AIOKafkaClient, "send", noted)
    async with serving(kafka, name) as backlog:
        first, second = Reading(0, 0, 51 if is_forgotten else 50), Reading(1, 0, 51)
        for reading in (first, second):
            backlog.wake(reading)

        async def is_read() -> bool:
            return len(first.read) == 50

        await eventually(is_read, within_seconds=30, says=lambda: f"read: {first.read}")
        if is_forgotten:
            backlog.forget(first)

        async def only_the_other() -> bool:
            return asked_for[-3:] == [{1}, {1}, {1}]

        # The second partition waits for events that do not exist yet, so its fetches continue.
        await eventually(only_the_other, within_seconds=30, says=lambda: f"fetched: {asked_for[-9:]}")
        second.stop = 50


async def test_deleted_offsets_are_reported(kafka: TestBroker, unique_name: Callable[[str], str]) -> None:
    name = await kafka.create_topic(unique_name("events"))
    await kafka.produce(name, *[(b"sub-1", b"%d" % number) for number in range(50)])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        await admin.start()
        await admin.delete_records({TopicPartition(name, 0): RecordsToDelete(before_offset=30)})
    finally:
        await admin.close()
    async with serving(kafka, name) as backlog:
        reading = Reading(0, 10, 50)
        backlog.wake(reading)
        await asyncio.wait_for(reading.done.wait(), 30)
        assert reading.begins_at == 30
        assert reading.read == list(range(30, 50))


async def test_the_offset_at_a_given_time_is_found(broker: TestBroker, unique_name: Callable[[str], str]) -> None:
    name = await broker.create_topic(unique_name("events"))
    async with broker.producer() as producer:
        for number in range(10):
            await producer.send_and_wait(name, b"", timestamp_ms=1_000_000 + number * 1000)
    async with serving(broker, name) as backlog:
        assert await backlog.offset_at(0, 1_004_500) == 5
        assert await backlog.offset_at(0, 0) == 0
        assert await backlog.offset_at(0, 2_000_000) is None
