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
        sieve: the sieve of the consumer, which drops records with other keys.
        seconds: the time limit, from now.

    Attributes:
        count: the number of partitions.
        numbers: the partitions that have a leader.
    """

    def __init__(self, topic: str, found: Partitions, consumer: AIOKafkaConsumer, sieve: Sieve, seconds: float) -> None:
        self.count = found.count
        self.numbers = found.led
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

    async def offsets_at(self, moment_ms: float, ends: Mapping[int, int], *, is_end: bool = False) -> dict[int, int]:
        """For each partition, the first offset at or after a time, or the end of the log.

        The embedded broker can't look up times. With this broker the result is the beginning or, with *is_end*, the
        end, so that no record is missed.
        """
        found = await self._consumer.offsets_for_times({self._tp(number): max(0, int(moment_ms)) for number in ends})
        offsets = {tp.partition: None if at is None else int(at.offset) for tp, at in found.items()}
        missing = [number for number, offset in offsets.items() if offset is None]
        begins = await self.begins() if missing and not is_end else {}
        for number in missing:
            is_indexed = is_end or await self._is_before(number, begins[number], ends[number], moment_ms)
            offsets[number] = ends[number] if is_indexed else begins[number]
        return {number: min(offset or 0, ends[number]) for number, offset in offsets.items()}

    async def _is_before(self, number: int, begin: int, end: int, moment_ms: float) -> bool:
        """Whether the last record of a partition is older than a time."""
        async for records in self.read(number, max(begin, end - 1), end):
            return records[-1].timestamp < moment_ms
        return True

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
    options: dict[str, Any] = {
        "key_deserializer": sieve,
        "check_crcs": not connection.embedded,
        "max_partition_fetch_bytes": FETCH_BYTES,
    }
    limit = seconds + OPENING_SECONDS
    async with reading(connection, topic, limit, isolation_level=isolation_level, **options) as consumer:
        yield LogScan(topic, found, consumer, sieve, seconds)
