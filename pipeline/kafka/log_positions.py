"""Looks up where each partition of a topic begins and ends, and its offsets at given times."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition

from pipeline.core.errors import BrokerError
from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topic_ids import find_topic_id
from pipeline.kafka.topics import partitions_of

ASK_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class LogPositions:
    """Positions in all partitions of a topic, each a list by partition.

    Attributes:
        topic_id: of the topic that has these offsets; None if no broker tells it.
        begins: the first offset that is still there.
        ends: the offset of the next event.
        since: by Unix milliseconds, the first offset at or after that time; the end where there is none.
    """

    topic_id: str | None
    begins: list[int]
    ends: list[int]
    since: Mapping[int, list[int]]


async def log_positions(connection: KafkaConnection, topic: str, times_ms: Collection[int] = ()) -> LogPositions:
    """Ask the brokers; a worker may not know of partitions that were just added.

    An end includes all events that replicas have, those of open transactions too: what a producer wrote before the
    question is before the end, whenever its transaction is committed.

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
            # The ends first: an event that is written meanwhile, at or after one of the times, is after the end.
            ends = await consumer.end_offsets(tps)
            begins = await consumer.beginning_offsets(tps)
            since = {time: await _since(consumer, tps, time, ends) for time in times_ms}
            # Otherwise the topic was made again meanwhile, and nobody knows whose offsets these are.
            if await _id_of(consumer, connection, topic) == topic_id:
                return LogPositions(topic_id, [begins[tp] for tp in tps], [ends[tp] for tp in tps], since)


async def _id_of(consumer: AIOKafkaConsumer, connection: KafkaConnection, topic: str) -> str | None:
    return None if connection.embedded else await find_topic_id(client_of(consumer), topic)


async def _since(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition], time_ms: int, ends: Mapping[TopicPartition, int]
) -> list[int]:
    found = await consumer.offsets_for_times(dict.fromkeys(tps, time_ms))
    return [ends[tp] if found[tp] is None else int(found[tp].offset) for tp in tps]
