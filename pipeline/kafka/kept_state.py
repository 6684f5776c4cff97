"""The state of an application in Kafka, as it is stored: subscriptions, cursor rows, the group's commits.

Workers may run while the parts are read. The commits are read before the rows: if a lane falls behind in between, its
row is read too. So every unsettled event before a commit has a row.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.group_positions import GroupPositions, group_positions
from pipeline.kafka.internals import disconnect
from pipeline.kafka.newest_values import read_newest_records
from pipeline.kafka.topics import Source, cursors_topic, partitions_of, subscriptions_topic

TOGETHER: Final = 1000
"""How many records are passed to the producer before their confirmations are awaited."""


class Kept(NamedTuple):
    """The newest record of a key.

    Attributes:
        offset: the offset of the record. For a subscription, this is its revision.
    """

    key: bytes
    partition: int
    offset: int
    value: bytes


class Commit(NamedTuple):
    """The group's commit for a partition of a source topic."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class KeptState:
    """The whole state of an application.

    Attributes:
        subscriptions: the records of subscriptions, ordered by revision.
        rows: all records of `<app>.cursors`, including those with topic ids.
        commits: the group's commits, by source topic and partition.
        topic_ids: the id of each source topic; None if the broker has no topic ids.
        members: how many consumers the group had; None if they can't be seen.
        row_partitions: the number of partitions of `<app>.cursors`.
    """

    subscriptions: Sequence[Kept] = ()
    rows: Sequence[Kept] = ()
    commits: Mapping[tuple[str, int], Commit] = field(default_factory=dict)
    topic_ids: Mapping[str, str | None] = field(default_factory=dict)
    members: int | None = 0
    row_partitions: int = 0


async def read_state(source: Source, app: str) -> KeptState:
    """The current state of an application.

    Raises:
        BrokerError: a topic is missing, a partition of it has no leader, or the cluster can't be reached.
    """
    group = (await group_positions(source.connection, [app], source.topics))[app]
    count, rows = await _newest(source.connection, cursors_topic(app))
    _, subscriptions = await _newest(source.connection, subscriptions_topic(app))
    subscriptions.sort(key=lambda each: each.offset)
    return KeptState(subscriptions, rows, _commits(group), group.topic_ids, group.members, count)


def _commits(group: GroupPositions) -> dict[tuple[str, int], Commit]:
    return {
        (topic, partition): Commit(offset, group.metadata.get((topic, partition), ""))
        for topic, offsets in sorted(group.offsets.items())
        for partition, offset in sorted(offsets.items())
    }


async def _newest(connection: KafkaConnection, topic: str) -> tuple[int, list[Kept]]:
    """The number of partitions, and the newest record of each key."""
    partitions = await partitions_of(connection, topic)
    if troubles := partitions.troubles(topic):
        raise BrokerError("; ".join(troubles))
    async with read_newest_records(connection, topic, partitions, None) as (_, records):
        kept = [
            Kept(key, partition, record.offset, record.value or b"") for (key, partition), record in records.items()
        ]
    return partitions.count, sorted(kept)


async def write_records(
    connection: KafkaConnection, topic: str, records: Iterable[tuple[bytes, bytes | None, int]]
) -> list[int]:
    """Append records (key, value, partition) in this order; returns their offsets.

    Raises:
        BrokerError: a record could not be written. Records before it may have been written.
    """
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **connection.client_options())
    try:
        await producer.start()
        return await _send(producer, topic, list(records))
    except (KafkaError, OSError) as error:
        raise BrokerError(f"topic {topic}: could not be written: {error}") from error
    finally:
        await disconnect(producer)


async def _send(
    producer: AIOKafkaProducer, topic: str, records: Sequence[tuple[bytes, bytes | None, int]]
) -> list[int]:
    offsets: list[int] = []
    for first in range(0, len(records), TOGETHER):
        sent = [
            await producer.send(topic, value, key, partition=partition)
            for key, value, partition in records[first : first + TOGETHER]
        ]
        offsets += [written.offset for written in await asyncio.gather(*sent)]
    return offsets
