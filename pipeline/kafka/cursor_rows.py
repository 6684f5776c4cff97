"""Reads the cursor rows of all partitions for commands. It fences nothing and writes nothing."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import TopicPartition

from pipeline.core.model import Cursor
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KEEP_ALIVE_KEY, SOURCE_KEY
from pipeline.kafka.newest_values import read_newest
from pipeline.kafka.row_format import decode, read_topic_id
from pipeline.kafka.topics import partitions_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """The newest cursor row of a subscription in a partition.

    Attributes:
        cursor: the row; None if it can't be read.
        end: the end of the source topic's partition; None while that has no leader.
    """

    key: bytes
    partition: int
    cursor: Cursor | None
    end: int | None

    @property
    def waiting_at_most(self) -> int | None:
        """The number of offsets between the row and the end; some may belong to other subscriptions."""
        return None if self.cursor is None or self.end is None else max(0, self.end - self.cursor.next)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows, sorted by key and partition, and a sentence for partitions without a leader, whose rows can't be read."""

    found: list[Row]
    troubles: list[str]


async def read_rows(connection: KafkaConnection, topic: str, source: str, keys: Iterable[bytes] | None = None) -> Rows:
    """The committed rows of *topic*, of *keys* or all.

    Raises:
        BrokerError: the cluster can't be reached, has no such topic, or does not answer in time.
    """
    own, theirs = await partitions_of(connection, topic), await partitions_of(connection, source)
    async with read_newest(connection, topic, own, None if keys is None else frozenset(keys)) as (consumer, found):
        values = {at: value for at, value in found.items() if at[0] not in (KEEP_ALIVE_KEY, SOURCE_KEY)}
        numbers = {partition for _, partition in values}.intersection(theirs.led)
        ends = await consumer.end_offsets([TopicPartition(source, number) for number in numbers]) if numbers else {}
    rows = [
        Row(key, partition, _decoded(value), ends.get(TopicPartition(source, partition)))
        for (key, partition), value in sorted(values.items())
    ]
    return Rows(rows, [*own.troubles(topic), *theirs.troubles(source)])


async def read_topic_ids(connection: KafkaConnection, topic: str) -> dict[int, str]:
    """The id of the source topic that each partition was last delivered from, without partitions that have none noted.

    Raises:
        BrokerError: as for `read_rows`.
    """
    found_there = await partitions_of(connection, topic)
    async with read_newest(connection, topic, found_there, frozenset({SOURCE_KEY})) as (_, values):
        found = {partition: read_topic_id(value) for (_, partition), value in values.items()}
    return {partition: topic_id for partition, topic_id in found.items() if topic_id is not None}


def _decoded(value: bytes) -> Cursor | None:
    try:
        return decode(value)
    except ValueError as error:
        logger.warning("a cursor row can't be read: %s", error)
        return None
