"""The first offsets of a group with `autoOffsetReset: latest`, committed before its first worker joins.

A consumer without a committed offset for a partition uses `auto.offset.reset`. It can't tell a first start from a new
partition of the topic: with `latest` it would skip the first events of every new partition (the gap that KIP-842
describes). Therefore, at the first start, the first worker commits the end of every existing partition before it joins
the group. Kafka accepts such a commit only while the group has no members, so no offset moves while a worker delivers.
From then on, a partition without an offset is new, and workers read it from its beginning.

When a topic is deleted, Kafka deletes its offsets too. So a topic that was deleted and created again looks like one
that was never read. But the owners of partitions store the topic's id beside their rows (kafka/cursors.py). If the
stored id differs, the topic is new, and it is read from its beginning.
"""

import logging
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from pipeline.core.errors import BrokerError
from pipeline.core.sources import TopicPartition as SourcePartition
from pipeline.kafka.admin import administration, existing_topics, unreachable
from pipeline.kafka.committed import NONE_HAS_BEGUN
from pipeline.kafka.cursor_rows import read_topic_ids
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.row_keys import RowKeys
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topics import Source, cursors_topic

logger = logging.getLogger(__name__)


async def fix_beginnings(source: Source, group: str, counts: Mapping[str, int]) -> dict[SourcePartition, str]:
    """Call `fix_beginning` for each of the source topics, and return its results by topic partition.

    Args:
        source: the topics.
        group: the name of the consumer group.
        counts: the current number of partitions, by topic.

    Raises:
        BrokerError: see `fix_beginning`.
    """
    return {
        SourcePartition(topic, number): topic_id
        for topic in source.topics
        for number, topic_id in (await fix_beginning(source, group, counts[topic], topic)).items()
    }


async def fix_beginning(source: Source, group: str, partitions: int, topic: str | None = None) -> dict[int, str]:
    """Commit the ends of a source topic if `autoOffsetReset` is latest and the group has no offset in it yet.

    Returns:
        For each partition without an offset, the stored id of the topic from which it was last delivered, if there is
        such an id.

    Args:
        source: the topics.
        group: the name of the consumer group.
        partitions: the current partitions of the topic.
        topic: the topic; None: the only one.

    Raises:
        BrokerError: the cluster can't be reached; or this user may not read or commit the group's offsets; or the topic
            has become a source topic while workers run.
    """
    keys = RowKeys(topic or source.topic, is_alone=not source.others)
    tps = [TopicPartition(keys.topic, number) for number in range(partitions)]
    async with administration(source.connection) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=tps)
    new = [tp.partition for tp, offset in found.items() if offset.offset < 0]
    known = await _noted_topic_ids(source, group, keys) if new else {}
    noted = {number: known[number] for number in new if number in known}
    if source.auto_offset_reset == "latest" and len(new) == partitions:
        await _refuse_without_leaders(source, group, keys.topic)
        if not noted:
            await _commit_ends(source, group, tps, NONE_HAS_BEGUN)
        elif await _is_of(source, keys.topic, noted):
            logger.warning(
                "topic %s: the offsets of the group %s were deleted or have expired; events written since its last "
                "commit are not delivered, because autoOffsetReset is latest",
                keys.topic,
                group,
            )
            # The commit has no metadata. So all subscriptions count as begun, and with `routing: match` none begins a
            # second time.
            await _commit_ends(source, group, tps, "")
    return noted


async def _refuse_without_leaders(source: Source, group: str, topic: str) -> None:
    """Check that all partitions have leaders. A partition whose end is unknown would be read from its beginning.

    Raises:
        BrokerError: a partition has no leader.
    """
    found = await existing_topics(source.connection)
    troubles = [
        trouble for name in (topic, cursors_topic(group)) if name in found for trouble in found[name].troubles(name)
    ]
    if troubles:
        why = "the first worker begins at the ends of all partitions (autoOffsetReset latest), so each needs a leader"
        raise BrokerError("\n".join((*troubles, f"topic {topic}: {why}")))


async def _noted_topic_ids(source: Source, app: str, keys: RowKeys) -> dict[int, str]:
    topic = cursors_topic(app)
    if source.connection.embedded or topic not in await existing_topics(source.connection):
        return {}  # the embedded broker has no topic ids
    return await read_topic_ids(source.connection, topic, keys)


async def _is_of(source: Source, topic: str, noted: Mapping[int, str]) -> bool:
    """Whether a source topic is the one whose id is noted."""
    log = SourceLog(source.connection, topic)
    try:
        bounds = await log.look(list(noted))
    finally:
        await log.close()
    return {bound.topic_id for bound in bounds.values()} == set(noted.values())


async def _commit_ends(source: Source, group: str, tps: list[TopicPartition], note: str) -> None:
    consumer = AIOKafkaConsumer(
        group_id=group,
        auto_offset_reset="none",
        # Records of open transactions have not been delivered yet, so they count as new events.
        isolation_level=source.isolation_level,
        **source.connection.consumer_options(),
    )
    try:
        await consumer.start()
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.commit({tp: OffsetAndMetadata(end, note) for tp, end in ends.items()})
    except CommitFailedError:
        # The group has members. The first of them has committed the ends, but perhaps it does not read this topic.
        await _refuse_without_offsets(source, group, tps)
        return
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error
    finally:
        await disconnect(consumer)
    logger.info("topic %s: earlier events are not delivered, because autoOffsetReset is latest", tps[0].topic)


async def _refuse_without_offsets(source: Source, group: str, tps: list[TopicPartition]) -> None:
    """Check that a topic among several has offsets. Without offsets, it would be read from its beginning.

    Raises:
        BrokerError: the topic has no offsets.
    """
    async with administration(source.connection) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=tps)
    if source.others and all(offset.offset < 0 for offset in found.values()):
        raise BrokerError(
            f"topic {tps[0].topic}: is a new source. With autoOffsetReset latest it begins at its end. This end "
            f"can't be committed while workers of {group} that do not read the topic are running; "
            "stop all of them, then start them again, or use earliest"
        )
