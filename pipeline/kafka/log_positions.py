"""Looks up the first and last offsets of a topic's partitions, and their offsets at given times."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition

from pipeline.core.errors import BrokerError
from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of
from pipeline.kafka.offset_times import offsets_at
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topic_ids import find_topic_id
from pipeline.kafka.topics import partitions_of

ASK_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class LogPositions:
    """Positions in all partitions of a topic, each a list by partition.

    Attributes:
        topic_id: the id of the topic; None if the broker has no topic ids.
        begins: the first offsets that still exist.
        ends: the offsets of the next events.
        since: by time in Unix milliseconds, the first offsets at or after that time, or the end if there is none.
    """

    topic_id: str | None
    begins: list[int]
    ends: list[int]
    since: Mapping[int, list[int]]


async def log_positions(connection: KafkaConnection, topic: str, times_ms: Collection[int] = ()) -> LogPositions:
    """The positions, as the brokers know them: a worker's metadata may lack partitions that were just added.

    The end of a partition is after all replicated events, even those of open transactions. So an event that was written
    before this call is before the end, even if its transaction is committed later.

    Raises:
        BrokerError: the cluster can't be reached, or does not have the topic, or a partition has no leader and can't be
            asked.
    """
    async with reading(connection, topic, ASK_SECONDS, isolation_level="read_uncommitted") as consumer:
        while True:
            found = await partitions_of(connection, topic)
            topic_id = await _id_of(consumer, connection, topic)
            if found.leaderless:
                raise BrokerError(found.troubles(topic)[0])
            tps = [TopicPartition(topic, number) for number in range(found.count)]
            # The ends come first: an event that is written later is not before the end.
            ends = await consumer.end_offsets(tps)
            begins = await consumer.beginning_offsets(tps)
            since = {time: await _since(connection, consumer, time, ends) for time in times_ms}
            # If the id has changed, the topic was recreated in between, and the offsets may belong to the old or the
            # new topic.
            if await _id_of(consumer, connection, topic) == topic_id:
                return LogPositions(topic_id, [begins[tp] for tp in tps], [ends[tp] for tp in tps], since)


async def _id_of(consumer: AIOKafkaConsumer, connection: KafkaConnection, topic: str) -> str | None:
    return None if connection.embedded else await find_topic_id(client_of(consumer), topic)


async def _since(
    connection: KafkaConnection, consumer: AIOKafkaConsumer, time_ms: int, ends: Mapping[TopicPartition, int]
) -> list[int]:
    found = await offsets_at(connection, consumer, dict.fromkeys(ends, time_ms))
    return [end if (offset := found[tp]) is None else offset for tp, end in sorted(ends.items())]
