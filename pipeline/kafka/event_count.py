"""Counts the events of subscriptions in a range of the log.

With `routing: key`, records with other keys are skipped before they become objects. With `match`, a `Matching` decides.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from pipeline.core.keys import keys_among
from pipeline.core.model import Event
from pipeline.core.ports import Matching
from pipeline.core.sources import TopicPartition as SourcePartition
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, start_or_disconnect
from pipeline.kafka.offset_times import offsets_at
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.topics import IsolationLevel

POLL_MS: Final = 200


class EventCounter:
    """Counts with its own consumer, which it starts and stops as a context manager."""

    def __init__(self, connection: KafkaConnection, isolation_level: IsolationLevel) -> None:
        self._connection = connection
        self._sieve = Sieve()
        self._consumer = AIOKafkaConsumer(
            auto_offset_reset="none",
            isolation_level=isolation_level,
            key_deserializer=self._sieve,
            **connection.consumer_options(),
        )

    async def __aenter__(self) -> Self:
        await start_or_disconnect(self._consumer)
        return self

    async def __aexit__(self, *_: object) -> None:
        await disconnect(self._consumer)

    async def offset_at(self, tp: SourcePartition, timestamp_ms: int) -> int | None:
        """The first offset at or after a time; None if there is none. Raises the same errors as `count_each`."""
        place = TopicPartition(*tp)
        return (await offsets_at(self._connection, self._consumer, {place: timestamp_ms}))[place]

    async def count_each(
        self, tp: SourcePartition, ranges: Mapping[bytes, tuple[int, int]], matching: Matching | None
    ) -> dict[bytes, int]:
        """The number of each subscription's readable events in its own range. The log is read only once.

        Args:
            tp: a partition of a source topic.
            ranges: for each subscription, the first offset and the offset after the last.
            matching: finds the subscriptions that an event matches; None with `routing: key`.

        Raises:
            KafkaError: the brokers can't be asked.
        """
        found = dict.fromkeys(ranges, 0)
        wanted = {key: offsets for key, offsets in ranges.items() if offsets[0] < offsets[1]}
        if not wanted:
            return found
        start, end = min(first for first, _ in wanted.values()), max(end for _, end in wanted.values())
        async for events in self._batches(tp, None if matching else frozenset(wanted), start, end):
            for event in events:
                for key in keys_among(event, wanted, matching):
                    first, last = wanted[key]
                    found[key] += first <= event.offset < last
        return found

    async def first(
        self, tp: SourcePartition, key: bytes, start: int, end: int, matching: Matching | None
    ) -> int | None:
        """The first event of a subscription from *start* up to *end* (exclusive); None if there is none.

        Raises:
            KafkaError: the brokers can't be asked.
        """
        async for events in self._batches(tp, None if matching else frozenset({key}), start, end):
            for event in events:
                if keys_among(event, (key,), matching):
                    return event.offset
        return None

    async def _batches(
        self, source: SourcePartition, keys: frozenset[bytes] | None, start: int, end: int
    ) -> AsyncIterator[list[Event]]:
        """The readable events of a range. Events with keys other than *keys* may be left out."""
        tp, consumer = TopicPartition(*source), self._consumer
        self._sieve.keys = keys
        consumer.assign([tp])
        consumer.seek(tp, max(start, (await consumer.beginning_offsets([tp]))[tp]))
        end = min(end, (await consumer.end_offsets([tp]))[tp])
        while await consumer.position(tp) < end:
            try:
                records: dict[TopicPartition, list[Any]] = await consumer.getmany(tp, timeout_ms=POLL_MS)
            except OffsetOutOfRangeError:
                consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
                continue
            yield [record for record in records.get(tp, ()) if record.offset < end]
