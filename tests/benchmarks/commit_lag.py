"""Measures the commit lag of a partition in seconds: the age of the oldest event that is not committed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

LOOK_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Look:
    """The committed offset and the end of the log at the time *at*, as the broker reports them."""

    at: float
    committed: int
    end: int


class CommitLag:
    """Collects looks at one partition."""

    def __init__(self) -> None:
        self.looks: list[Look] = []

    def longest_seconds(self) -> float:
        """The longest time that an event was in the log and not committed. The error is at most the time between two
        looks."""
        longest, oldest = 0.0, 0
        for look in self.looks:
            # Advance to the first look at which the log had an event that the current commit does not cover.
            while self.looks[oldest].end <= look.committed and self.looks[oldest] is not look:
                oldest += 1
            if look.end > look.committed:
                longest = max(longest, look.at - self.looks[oldest].at)
        return longest


@asynccontextmanager
async def observed(bootstrap: str, group: str, topic: str, partition: int) -> AsyncIterator[CommitLag]:
    """Look at the partition four times a second while the block runs."""
    place = TopicPartition(topic, partition)
    lag = CommitLag()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await admin.start()
    await consumer.start()
    looking = asyncio.ensure_future(_look(lag, admin, consumer, group, place))
    try:
        yield lag
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await consumer.stop()
        await admin.close()


async def _look(
    lag: CommitLag, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, group: str, place: TopicPartition
) -> None:
    while True:
        end = (await consumer.end_offsets([place]))[place]
        committed = (await admin.list_consumer_group_offsets(group, partitions=[place]))[place].offset
        lag.looks.append(Look(time.monotonic(), max(0, committed), end))
        await asyncio.sleep(LOOK_SECONDS)
