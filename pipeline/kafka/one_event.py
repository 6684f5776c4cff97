"""Reads one record of a topic."""

from typing import Any, Final

from aiokafka import TopicPartition

from pipeline.core.model import Event
from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import IsolationLevel

POLL_MS: Final = 200


async def read_event(
    connection: KafkaConnection,
    place: tuple[str, int, int],
    seconds: float,
    isolation_level: IsolationLevel = "read_committed",
) -> Event | None:
    """The record at topic, partition and offset; None if it was deleted or has not been written.

    Args:
        connection: connects to the cluster of the topic.
        place: topic, partition and offset; the partition exists.
        seconds: the time limit.
        isolation_level: the isolation level of the consumer.

    Raises:
        BrokerError: the partition can't be read within *seconds*.
    """
    topic, partition, offset = place
    options: dict[str, Any] = {"isolation_level": isolation_level, "check_crcs": not connection.embedded}
    async with reading(connection, topic, seconds, **options) as consumer:
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
