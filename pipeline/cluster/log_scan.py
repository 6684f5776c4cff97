"""Reads ranges of a topic for a limited time."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import TopicPartition

from pipeline.core.model import Event
from pipeline.kafka.admin import Partitions
from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.offset_times import offsets_at
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.topics import IsolationLevel, partitions_of

POLL_MS: Final = 200
BATCH: Final = 500
OPENING_SECONDS: Final = 10.0
FETCH_BYTES: Final = 1024 * 1024


class OutOfTime(Exception):  # noqa: N818 - the expected end of a search, not an error
    """The time for reading is up."""


class LogScan:
    """Reads ranges of the partitions of one topic.

    Args:
        found: the partitions of the topic.
        consumer: a started consumer of the cluster of *connection*.
        sieve: the sieve of the consumer, which drops records with other keys.
        seconds: the time limit, from now.

    Attributes:
        count: the number of partitions.
        numbers: the partitions that have a leader.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        found: Partitions,
        consumer: AIOKafkaConsumer,
        sieve: Sieve,
        *,
        seconds: float,
    ) -> None:
        self.count = found.count
        self.numbers = found.led
        self._connection = connection
        self._topic = topic
        self._consumer = consumer
        self._sieve = sieve
        self._deadline = asyncio.get_running_loop().time() + seconds

    @property
    def seconds_left(self) -> float:
        """The time that is left until the limit."""
        return self._deadline - asyncio.get_running_loop().time()

    async def begins(self) -> dict[int, int]:
        """The first offset of each partition."""
        return self._by_number(await self._consumer.beginning_offsets(self._all()))

    async def ends(self) -> dict[int, int]:
        """The offset of the next record of each partition."""
        return self._by_number(await self._consumer.end_offsets(self._all()))

    async def offsets_at(self, moment_ms: float, ends: Mapping[int, int]) -> dict[int, int]:
        """For each partition in *ends*, the first offset at or after a time, but at most the end in *ends*."""
        times = {self._tp(number): max(0, int(moment_ms)) for number in ends}
        found = await offsets_at(self._connection, self._consumer, times)
        ends_of = {self._tp(number): end for number, end in ends.items()}
        return {tp.partition: end if (at := found[tp]) is None else min(at, end) for tp, end in ends_of.items()}

    async def read(
        self, number: int, start: int, end: int, keys: Collection[bytes] | None = None
    ) -> AsyncIterator[Sequence[Event]]:
        """The records from *start* to *end* in batches; with *keys*, only records with these keys.

        Raises:
            OutOfTime: the time limit was reached before the end.
        """
        tp, position = self._tp(number), start
        if start >= end:
            return
        self._sieve.keys = None if keys is None else frozenset(keys)
        self._consumer.assign([tp])
        self._consumer.seek(tp, start)
        while position < end:
            if self.seconds_left <= 0:
                raise OutOfTime
            found = await self._consumer.getmany(tp, timeout_ms=POLL_MS, max_records=BATCH)
            position = await self._consumer.position(tp)
            records = [
                record
                for record in found.get(tp, ())
                if record.offset < end and (keys is None or (record.key or b"") in keys)
            ]
            if records:
                yield records

    def _all(self) -> list[TopicPartition]:
        return [self._tp(number) for number in self.numbers]

    def _tp(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)

    @staticmethod
    def _by_number(found: Mapping[TopicPartition, int]) -> dict[int, int]:
        return {tp.partition: int(offset) for tp, offset in found.items()}


@asynccontextmanager
async def opened_scan(
    connection: KafkaConnection, topic: str, seconds: float, isolation_level: IsolationLevel = "read_committed"
) -> AsyncIterator[LogScan]:
    """Open a scan of a topic with a time limit of *seconds*.

    Raises:
        BrokerError: the cluster can't be reached, or the topic does not exist or can't be read.
    """
    found = await partitions_of(connection, topic)
    sieve = Sieve()
    options: dict[str, Any] = {"key_deserializer": sieve, "max_partition_fetch_bytes": FETCH_BYTES}
    limit = seconds + OPENING_SECONDS
    async with reading(connection, topic, limit, isolation_level=isolation_level, **options) as consumer:
        yield LogScan(connection, topic, found, consumer, sieve, seconds=seconds)
