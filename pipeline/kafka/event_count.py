"""Counts the events of one subscription in a range of the log; by key, without building records of others."""

from functools import partial
from typing import Any, Final, Self

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from pipeline.core.model import Event
from pipeline.core.subscription import Filter
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.topics import IsolationLevel

POLL_MS: Final = 200


class EventCounter:
    """A context manager that holds a separate consumer.

    Args:
        connection: of the source's cluster.
        topic: the source topic.
        isolation_level: as the stream is read.
    """

    def __init__(self, connection: KafkaConnection, topic: str, isolation_level: IsolationLevel) -> None:
        self._topic = topic
        self._sieve = Sieve()
        self._consumer = AIOKafkaConsumer(
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=isolation_level,
            key_deserializer=self._sieve,
            check_crcs=not connection.embedded,
            **connection.client_options(),
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except BaseException:
            await disconnect(self._consumer)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await disconnect(self._consumer)

    async def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        """The first offset at or after a time; None if there is none. Raises as `count` does."""
        tp = TopicPartition(self._topic, partition)
        found = (await self._consumer.offsets_for_times({tp: timestamp_ms}))[tp]
        return None if found is None else int(found.offset)

    async def count(self, partition: int, wanted: bytes | Filter, start: int, end: int) -> int:
        """The number of readable events from *start* up to *end* (exclusive) with a key, or that a filter wants.

        Raises:
            KafkaError: the brokers can't be asked.
        """
        tp, consumer = TopicPartition(self._topic, partition), self._consumer
        is_wanted = partial(_has_key, wanted) if isinstance(wanted, bytes) else wanted
        self._sieve.keys = frozenset({wanted}) if isinstance(wanted, bytes) else None
        consumer.assign([tp])
        consumer.seek(tp, max(start, (await consumer.beginning_offsets([tp]))[tp]))
        end = min(end, (await consumer.end_offsets([tp]))[tp])
        found = 0
        while await consumer.position(tp) < end:
            try:
                records: dict[TopicPartition, list[Any]] = await consumer.getmany(tp, timeout_ms=POLL_MS)
            except OffsetOutOfRangeError:
                consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
                continue
            # The sieve lets some records with other keys through.
            found += sum(record.offset < end and is_wanted(record) for record in records.get(tp, ()))
        return found


def _has_key(key: bytes, event: Event) -> bool:
    return (event.key or b"") == key
