"""Reads the cursor rows of all partitions for commands. It fences no worker and writes nothing."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import TopicPartition

from pipeline.core.model import Cursor
from pipeline.core.model import Row as CursorRow
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of
from pipeline.kafka.newest_values import read_newest
from pipeline.kafka.row_format import read_row, read_topic_id
from pipeline.kafka.row_keys import SOURCE_KEY, RowKeys
from pipeline.kafka.topic_ids import find_topic_id
from pipeline.kafka.topics import partitions_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """The newest cursor row of a subscription in a partition.

    Attributes:
        cursor: the row; None if it can't be read.
        end: the end of the source topic's partition; None while the partition has no leader.
    """

    key: bytes
    topic: str
    partition: int
    cursor: Cursor | None
    end: int | None

    @property
    def waiting_at_most(self) -> int | None:
        """The number of offsets between the row and the end; some may belong to other subscriptions."""
        return None if self.cursor is None or self.end is None else max(0, self.end - self.cursor.next)


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Rows by key, topic and partition, and a sentence about partitions whose rows can't be read without a leader."""

    found: list[StoredRow]
    troubles: list[str]


async def read_rows(
    connection: KafkaConnection, topic: str, sources: Sequence[str], keys: Iterable[bytes] | None = None
) -> ReadRows:
    """The committed rows of *topic*, of the subscriptions with these *keys* or of all.

    Args:
        connection: connects to the cluster.
        topic: `<app>.cursors`.
        sources: the source topics.
        keys: the keys of the subscriptions; None for all.

    Raises:
        BrokerError: the cluster can't be reached, has no such topic, or does not answer in time.
    """
    own = await partitions_of(connection, topic)
    theirs = {source: await partitions_of(connection, source) for source in sources}
    of_topics = [RowKeys(source, is_alone=len(sources) == 1) for source in sources]
    async with read_newest(connection, topic, own, _keys_to_read(of_topics, keys)) as (consumer, values):
        found = []
        for each in of_topics:
            topic_id = await find_topic_id(client_of(consumer), each.topic)
            found += [
                (key, each.topic, partition, row)
                for partition, part in _by_partition(values).items()
                for key, row in each.find(part.rows, part.topic_ids, topic_id).rows.items()
            ]
        tps = {TopicPartition(source, number) for _, source, number, _ in found if number in theirs[source].led}
        ends = await consumer.end_offsets(tps) if tps else {}
    rows = [
        StoredRow(key, source, number, _readable(row), ends.get(TopicPartition(source, number)))
        for key, source, number, row in sorted(found, key=lambda each: each[:3])
    ]
    return ReadRows(rows, [*own.troubles(topic), *(each for name in sources for each in theirs[name].troubles(name))])


async def read_topic_ids(connection: KafkaConnection, topic: str, keys: RowKeys) -> dict[int, str]:
    """By partition, the stored id of the source topic that was last delivered. Partitions without one are left out.

    Raises:
        BrokerError: see `read_rows`.
    """
    found_there = await partitions_of(connection, topic)
    async with read_newest(connection, topic, found_there, _keys_to_read([keys], ())) as (consumer, values):
        topic_id = await find_topic_id(client_of(consumer), keys.topic)
    found = {number: keys.last_topic_id(part.topic_ids, topic_id) for number, part in _by_partition(values).items()}
    return {partition: topic_id for partition, topic_id in found.items() if topic_id is not None}


def _keys_to_read(of_topics: Iterable[RowKeys], keys: Iterable[bytes] | None) -> frozenset[bytes] | None:
    """The keys of topic ids and of rows, in both forms that a row may have (row_keys.py); None for all."""
    if keys is None:
        return None
    wanted = [SOURCE_KEY, *keys]
    return frozenset(form(key) for each in of_topics for key in wanted for form in (each.of, each.other_of))


class _Part(NamedTuple):
    """The contents of one partition."""

    rows: dict[bytes, CursorRow]
    topic_ids: dict[bytes, str | None]


def _by_partition(values: Mapping[tuple[bytes, int], bytes]) -> Mapping[int, _Part]:
    found: defaultdict[int, _Part] = defaultdict(lambda: _Part({}, {}))
    for (key, partition), value in values.items():
        if key.endswith(SOURCE_KEY):
            found[partition].topic_ids[key] = read_topic_id(value)
        else:
            found[partition].rows[key] = read_row(value)
    return found


def _readable(row: CursorRow) -> Cursor | None:
    if isinstance(row, Cursor):
        return row
    logger.warning("a cursor row can't be read: %s", row.reason)
    return None
