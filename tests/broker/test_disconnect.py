"""Clients that are closed while their broker is unavailable, or while the closing task is cancelled."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration
from pipeline.kafka.internals import disconnect
from tests.support.brokers import TestBroker


async def test_a_consumer_whose_fetches_fail_closes_without_an_error(embedded: TestBroker) -> None:
    assert embedded.mock is not None
    await embedded.create_topic("events")
    consumer = AIOKafkaConsumer(enable_auto_commit=False, **embedded.connection.client_options())
    await consumer.start()
    consumer.assign([TopicPartition("events", 0)])
    await consumer.getmany(timeout_ms=100)
    embedded.mock.down()
    await consumer.getmany(timeout_ms=500)
    await disconnect(consumer)
    assert not consumer._client._conns


async def test_closing_a_producer_does_not_wait_for_its_broker(embedded: TestBroker) -> None:
    assert embedded.mock is not None
    await embedded.create_topic("events")
    producer = AIOKafkaProducer(**embedded.connection.client_options())
    await producer.start()
    await producer.send_and_wait("events", b"a")
    embedded.mock.down()
    unconfirmed = await producer.send("events", b"b")
    await asyncio.wait_for(disconnect(producer, seconds=0.2), 10)
    assert isinstance(unconfirmed.exception(), BrokerError)


async def test_a_cancellation_during_the_close_is_not_lost(embedded: TestBroker) -> None:
    is_connected, may_close = asyncio.Event(), asyncio.Event()
    own_tasks: list[asyncio.Task[None]] = []

    async def look_up() -> None:
        async with administration(embedded.connection) as admin:
            own_tasks.append(admin._client._sync_task)
            is_connected.set()
            await may_close.wait()

    looking = asyncio.ensure_future(look_up())
    await is_connected.wait()
    may_close.set()
    for _ in range(1000):
        if own_tasks[0].cancelling():
            break
        await asyncio.sleep(0)
    assert not own_tasks[0].done()
    looking.cancel()  # while `close` waits for this task of aiokafka, which it has cancelled
    with pytest.raises(asyncio.CancelledError):
        await looking
