"""Reads one event of a source topic."""

from typing import Any, Final

from aiokafka import TopicPartition

from pipeline.core.model import Event
from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.topics import Source

POLL_MS: Final = 200


async def read_event(source: Source, topic: str, partition: int, offset: int, seconds: float) -> Event | None:
    """The event at *offset* of an existing partition; None if it was deleted or has not been written.

    Raises:
        BrokerError: the partition can't be read within *seconds*.
    """
    options: dict[str, Any] = {"isolation_level": source.isolation_level, "check_crcs": not source.connection.embedded}
    async with reading(source.connection, topic, seconds, **options) as consumer:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        if not begin <= offset < end:
            return None
        consumer.seek(tp, offset)
        while await consumer.position(tp) <= offset:
            for record in (await consumer.getmany(tp, timeout_ms=POLL_MS, max_records=1)).get(tp, ()):
                if record.offset >= offset:
                    found: Event = record
                    return found if found.offset == offset else None
    return None
