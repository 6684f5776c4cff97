"""Paced fetches: aiokafka's fetcher waits for the pause, and can be stopped during a pause."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.kafka.internals import pace_fetches
from tests.support.brokers import TestBroker

FOR_EVER = 1e6

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def paced(broker: TestBroker, topic: str, pause: Callable[[], float]) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(**broker.connection.client_options())
    await consumer.start()
    try:
        pace_fetches(consumer, pause)
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        yield consumer
    finally:
        await consumer.stop()


async def test_each_fetch_waits_for_the_pause_that_was_asked_for(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await broker.create_topic(unique_name("paced"))
    asked = 0

    def pause() -> float:
        nonlocal asked
        asked += 1
        return 0.001

    async with paced(broker, topic, pause) as consumer:
        for number in range(3):
            await broker.produce(topic, (b"key", b"%d" % number))
            assert (await consumer.getone()).value == b"%d" % number
    assert asked >= 3


async def test_a_consumer_stops_during_a_pause_between_fetches(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await broker.create_topic(unique_name("paused"))
    pausing = asyncio.Event()

    def pause() -> float:
        pausing.set()
        return FOR_EVER

    async with paced(broker, topic, pause):
        await pausing.wait()
