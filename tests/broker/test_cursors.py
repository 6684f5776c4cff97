"""The fenced row store, on each kind of broker; fencing on a real Kafka alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.cli.dev.embedded_broker import EmbeddedBroker
from pipeline.core.errors import FencedError
from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KafkaRows, encode
from tests.support.batches import Written, batch
from tests.support.brokers import TestBroker

STOPPED = Cursor(
    next=7, status=Status.FAILURE, cause=Cause("rejected", "the callback answered 400", 7, 1.5), revision=3
)


@asynccontextmanager
async def opened(broker: TestBroker, topic: str, written: list[int] | None = None) -> AsyncIterator[KafkaRows]:
    rows = store(broker, topic, written)
    await rows.open()
    try:
        yield rows
    finally:
        await rows.close()


def store(broker: TestBroker, topic: str, written: list[int] | None = None) -> KafkaRows:
    connection = KafkaConnection((broker.bootstrap,), embedded=broker.embedded)
    counts: list[int] = [] if written is None else written
    return KafkaRows(connection, topic, 1, on_written=counts.append)


async def found(broker: TestBroker, topic: str) -> dict[bytes, Cursor]:
    rows = store(broker, topic)
    try:
        return dict(await rows.open())
    finally:
        await rows.close()


@pytest.fixture
async def topic(broker: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await broker.create_topic(unique_name("cursors"), 2, {"cleanup.policy": "compact"})


async def test_the_next_owner_finds_the_newest_row_of_each_subscription(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        await rows.put(b"sub-1", Cursor(next=5))
        await asyncio.gather(rows.put(b"sub-1", Cursor(next=6)), rows.put(b"sub-2", STOPPED))
    assert await found(broker, topic) == {b"sub-1": Cursor(next=6), b"sub-2": STOPPED}


async def test_a_header_name_that_is_no_text_stops_no_loading(broker: TestBroker, topic: str) -> None:
    await broker.append(topic, batch(Written(encode(STOPPED), b"sub-1", [(b"x-\xff", b"1")])), partition=1)
    assert await found(broker, topic) == {b"sub-1": STOPPED}


async def test_a_deleted_row_is_gone(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        await rows.put(b"sub-1", Cursor(next=5))
        await rows.put(b"sub-1", None)
    assert await found(broker, topic) == {}


async def test_rows_that_wait_together_are_one_group(broker: TestBroker, topic: str) -> None:
    written: list[int] = []
    async with opened(broker, topic, written) as rows:
        await asyncio.gather(*(rows.put(b"sub-%d" % number, Cursor(next=number)) for number in range(50)))
    assert written == [50]


async def test_a_close_writes_what_still_waits(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        rows.put(b"sub-1", Cursor(next=5))
    assert await found(broker, topic) == {b"sub-1": Cursor(next=5)}


async def test_a_close_does_not_wait_for_a_broker_that_is_gone(unique_name: Callable[[str], str]) -> None:
    with EmbeddedBroker() as mock:
        broker = TestBroker(mock.bootstrap, mock)
        rows = store(broker, await broker.create_topic(unique_name("cursors"), 2))
        await rows.open()
    row = rows.put(b"sub-1", Cursor(next=5))
    await asyncio.wait_for(rows.close(), 20)
    assert row.cancelled()


async def test_a_transactional_id_is_used_also_while_there_are_no_rows(kafka: TestBroker, kafka_topic: str) -> None:
    used = asyncio.Event()
    rows = KafkaRows(kafka.connection, kafka_topic, 1, on_written=lambda _: used.set(), keep_alive_seconds=0.05)
    try:
        await rows.open()
        await asyncio.wait_for(used.wait(), 20)
        await rows.put(b"sub-1", Cursor(next=5))
    finally:
        await rows.close()
    assert await found(kafka, kafka_topic) == {b"sub-1": Cursor(next=5)}


async def test_a_row_that_cannot_be_read_is_passed_over(broker: TestBroker, topic: str) -> None:
    await broker.produce(topic, (b"sub-1", b"no row"), (b"sub-2", b'{"next":3,"status":"started"}'), partition=1)
    assert await found(broker, topic) == {b"sub-2": Cursor(next=3)}


async def test_rows_of_other_partitions_are_not_loaded(broker: TestBroker, topic: str) -> None:
    await broker.produce(topic, (b"sub-1", b'{"next":3,"status":"started"}'), partition=0)
    assert await found(broker, topic) == {}


@pytest.fixture
async def kafka_topic(kafka: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await kafka.create_topic(unique_name("cursors"), 2, {"cleanup.policy": "compact"})


async def test_a_former_owner_is_refused_and_its_rows_stay_invisible(
    kafka: TestBroker, kafka_topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(kafka, kafka_topic) as former:
        await former.put(b"sub-1", Cursor(next=5))
        async with opened(kafka, kafka_topic) as owner:
            with pytest.raises(FencedError):
                await former.put(b"sub-1", Cursor(next=1))
            assert "takes no more rows from here: ProducerFenced" in caplog.text
            await owner.put(b"sub-2", Cursor(next=9))
            with pytest.raises(FencedError):
                await former.put(b"sub-1", None)
    assert await found(kafka, kafka_topic) == {b"sub-1": Cursor(next=5), b"sub-2": Cursor(next=9)}


async def test_what_the_former_owner_had_open_is_aborted_before_rows_are_read(
    kafka: TestBroker, kafka_topic: str
) -> None:
    former = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{kafka_topic}.1")
    await former.start()
    try:
        await former.begin_transaction()
        await former.send_and_wait(kafka_topic, b'{"next":1,"status":"started"}', b"sub-1", partition=1)
        assert await found(kafka, kafka_topic) == {}
    finally:
        await former.stop()
