"""The lease with aiokafka's real coordinator, on each kind of broker."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer

from pipeline.kafka.internals import keep_lease_of
from tests.support.brokers import TestBroker
from tests.support.fakes import HandLease
from tests.support.waiting import eventually


@asynccontextmanager
async def member(broker: TestBroker, topic: str, lease: HandLease) -> AsyncIterator[None]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=topic, heartbeat_interval_ms=100, session_timeout_ms=6000
    )
    await consumer.start()
    try:
        keep_lease_of(consumer, lease)
        consumer.subscribe([topic])
        yield
    finally:
        await consumer.stop()


async def test_each_heartbeat_of_a_member_renews_the_lease(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    topic = await broker.create_topic(unique_name("events"), 1)
    lease = HandLease()
    lease.end()

    async def is_held() -> bool:
        return lease.is_held

    async with member(broker, topic, lease):
        await eventually(is_held, within_seconds=30, says=lambda: "joining the group did not begin a lease")
        for _ in range(2):
            lease.end()
            await eventually(is_held, within_seconds=30, says=lambda: "no heartbeat has renewed the lease")
