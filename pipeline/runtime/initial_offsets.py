"""Where a group begins with `autoOffsetReset: latest`: fixed before its first worker joins.

A consumer that has no committed offset for a partition asks `auto.offset.reset`, and can't tell a first start from a
partition that the topic has gained: with `latest` it would pass over the first events of every new partition (the gap
that KIP-842 describes). So the end of every partition that is there at the first start is committed, once, by a client
that is no member. Kafka takes such a commit only while the group has no members: whoever comes second is refused, and
nobody's place is moved while somebody delivers. From then on a partition without an offset is a new one, and workers
read it from its beginning.
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
    """Commit the ends of the source topic, if it is to be read from there and the group has no place in it yet.

    Args:
        source: the topic.
        group: the consumer group, by its name.
        partitions: of the topic, as of now.

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
        # Of a transaction that is open now nothing has been delivered to anybody yet: what it commits is still to come.
        isolation_level=source.isolation_level,
        **source.connection.client_options(),
    )
    try:
        await consumer.start()
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))
    except CommitFailedError:
        return  # the group has members: one of them has done this
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error
    finally:
        await disconnect(consumer)
    logger.info("topic %s: events from before now are not delivered, for autoOffsetReset is latest", source.topic)
