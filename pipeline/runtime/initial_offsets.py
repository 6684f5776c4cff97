"""The first offsets of a group with `autoOffsetReset: latest`, committed before its first worker joins.

A consumer without a committed offset for a partition uses `auto.offset.reset`. It can't tell a first start from a new
partition of the topic: with `latest` it would skip the first events of every new partition (the gap that KIP-842
describes). Therefore a client outside the group commits the end of every existing partition once, at the first start.
Kafka accepts such a commit only while the group has no members: a second client is refused, and no offset moves while a
worker delivers. From then on, a partition without an offset is new, and workers read it from its beginning.
"""

import logging

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration, unreachable
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topics import Source

logger = logging.getLogger(__name__)


async def fix_beginning(source: Source, group: str, partitions: int) -> None:
    """Commit the ends of the source topic, if it is to be read from there and the group has no offset in it yet.

    Args:
        source: the topic.
        group: the name of the consumer group.
        partitions: the current partitions of the topic.

    Raises:
        BrokerError: the cluster can't be reached, or does not let this user read the group's offsets or commit any.
    """
    if source.auto_offset_reset != "latest":
        return
    places = [TopicPartition(source.topic, number) for number in range(partitions)]
    async with administration(source.connection) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=places)
    if all(place.offset < 0 for place in found.values()):
        await _commit_ends(source, group, places)


async def _commit_ends(source: Source, group: str, places: list[TopicPartition]) -> None:
    consumer = AIOKafkaConsumer(
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        # No record of an open transaction has been delivered yet; they count as new events.
        isolation_level=source.isolation_level,
        **source.connection.client_options(),
    )
    try:
        await consumer.start()
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
    except CommitFailedError:
        return  # the group has members; one of them has committed
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error
    finally:
        await disconnect(consumer)
    logger.info("topic %s: earlier events are not delivered, because autoOffsetReset is latest", source.topic)
