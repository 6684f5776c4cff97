"""Counts the events of one subscription in a stretch of the log, without handing out those of others."""

from typing import Any, Final, Self

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.topics import IsolationLevel

POLL_MS: Final = 200


class EventCounter:
    """A consumer of its own for as long as it is entered.

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
        place = TopicPartition(self._topic, partition)
        found = (await self._consumer.offsets_for_times({place: timestamp_ms}))[place]
        return None if found is None else int(found.offset)

    async def count(self, partition: int, key: bytes, start: int, end: int) -> int:
        """How many events with this key there are from *start* up to *end*, as far as they may be read.

        Raises:
            KafkaError: the brokers can't be asked.
        """
        place, consumer = TopicPartition(self._topic, partition), self._consumer
        self._sieve.keys = frozenset({key})
        consumer.assign([place])
        consumer.seek(place, max(start, (await consumer.beginning_offsets([place]))[place]))
        end = min(end, (await consumer.end_offsets([place]))[place])
        found = 0
        while await consumer.position(place) < end:
            try:
                records: dict[TopicPartition, list[Any]] = await consumer.getmany(place, timeout_ms=POLL_MS)
            except OffsetOutOfRangeError:
                consumer.seek(place, (await consumer.beginning_offsets([place]))[place])
                continue
            # Some of others get through the sieve, too.
            found += sum((record.key or b"") == key and record.offset < end for record in records.get(place, ()))
        return found
