"""Subscriptions that are made under load get no event from before their creation, and miss none after it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, recording
from tests.support.waiting import eventually

BEFORE, AFTER = 2, 5
SUBSCRIPTIONS = 12

pytestmark = pytest.mark.timeout(180)


@dataclass
class Load:
    """Events, numbered in the order in which they are produced, in all partitions in turn."""

    found: Cluster
    begun: int = 0
    confirmed: set[int] = field(default_factory=set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Produce while the block runs."""
        connection = self.found.broker.connection
        producer = AIOKafkaProducer(acks="all", metadata_max_age_ms=100, **connection.client_options())
        await producer.start()
        producing = asyncio.create_task(self._produce(producer))
        try:
            yield
        finally:
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)
            await producer.stop()

    async def _produce(self, producer: AIOKafkaProducer) -> None:
        while True:
            number, self.begun = self.begun, self.begun + 1
            partitions = sorted(await producer.partitions_for(self.found.topic))
            partition = partitions[number % len(partitions)]
            await producer.send_and_wait(self.found.topic, str(number).encode(), partition=partition)
            self.confirmed.add(number)

    async def more(self, count: int) -> None:
        """Return when *count* more events are in the topic."""
        wanted = len(self.confirmed) + count

        async def are_there() -> bool:
            return len(self.confirmed) >= wanted

        await eventually(are_there, within_seconds=60, says=lambda: f"{len(self.confirmed)} of {wanted} events")


def numbers(recorder: Recorder, subscription: str) -> set[int]:
    """The numbers of the events that a subscription got."""
    return {int(call.body) for call in recorder.of(subscription)}


@pytest.mark.parametrize("breaks", ["nothing", "a worker is killed"])
async def test_a_subscription_begins_exactly_at_its_creation(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, breaks: str
) -> None:
    name = unique_name("begins")
    async with recording() as recorder, cluster(kafka, name, tmp_path, partitions=BEFORE, routing="match") as found:
        await found.start_worker()
        await found.start_worker()
        await found.until_ready()
        load = Load(found)
        before: dict[str, set[int]] = {}
        first_after: dict[str, int] = {}
        async with load.running():
            for made in range(SUBSCRIPTIONS):
                await load.more(50)
                if made == SUBSCRIPTIONS // 3:
                    await kafka.add_partitions(found.topic, AFTER)
                    found.partitions = AFTER
                if made == SUBSCRIPTIONS // 2 and breaks != "nothing":
                    await found.workers.pop(0).kill()
                before[f"s-{made}"] = set(load.confirmed)
                await found.subscribe(recorder, f"s-{made}")
                first_after[f"s-{made}"] = load.begun
            await load.more(50)

        def have_all() -> bool:
            return all(
                numbers(recorder, each) >= {number for number in load.confirmed if number >= first}
                for each, first in first_after.items()
            )

        await recorder.until(have_all, within_seconds=90)
        for each, events in before.items():
            assert not numbers(recorder, each) & events, each
