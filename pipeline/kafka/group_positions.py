"""Reads and moves the positions of consumer groups, so that one system continues where another has stopped.

Also tells which member of a group owns which partition.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import CommitFailedError, KafkaError, NoError, for_code
from aiokafka.structs import OffsetAndMetadata

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration, unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import AdminClient, client_of, disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topic_ids import find_topic_id

_DEAD: Final = "Dead"
"""The state of a group that does not exist.

It is also the state of a group whose members the coordinator shows only to newer clients.
"""


@dataclass(frozen=True, slots=True)
class GroupPositions:
    """The commits of a group.

    Attributes:
        offsets: by topic and partition, the first offset that the group has not processed. Partitions without a commit
            are left out.
        topic_ids: the id of each topic before the offsets were read; None if the broker has no topic ids.
        members: how many consumers the group has; None if they can't be seen.
        metadata: the metadata of each commit, by topic and partition.
    """

    offsets: Mapping[str, Mapping[int, int]]
    topic_ids: Mapping[str, str | None] = field(default_factory=dict)
    members: int | None = 0
    metadata: Mapping[tuple[str, int], str] = field(default_factory=dict)


async def group_positions(
    connection: KafkaConnection, groups: Iterable[str], topics: Sequence[str]
) -> Mapping[str, GroupPositions]:
    """The positions of each group; a group that does not exist has no offsets.

    Raises:
        BrokerError: the cluster can't be reached, or does not let this user see a group or a topic.
    """
    async with administration(connection) as admin:
        ids = {topic: None if connection.embedded else await find_topic_id(client_of(admin), topic) for topic in topics}
        return {group: await _positions(admin, group, topics, ids) for group in groups}


async def _positions(
    admin: AdminClient, group: str, topics: Sequence[str], topic_ids: Mapping[str, str | None]
) -> GroupPositions:
    # The members are read before the offsets: a member that leaves in between has committed its offsets.
    state, members = await _members(admin, group)
    committed = await admin.list_consumer_group_offsets(group)
    offsets: dict[str, dict[int, int]] = {}
    metadata: dict[tuple[str, int], str] = {}
    for (topic, partition), position in committed.items():
        if topic in topics and position.offset >= 0:
            offsets.setdefault(topic, {})[partition] = position.offset
            metadata[topic, partition] = position.metadata or ""
    is_hidden = state == _DEAD and bool(offsets)
    return GroupPositions(offsets, topic_ids, None if is_hidden else members, metadata)


async def _members(admin: AdminClient, group: str) -> tuple[str, int]:
    [answer] = await admin.describe_consumer_groups([group])
    [(code, _, state, _, _, members, *_)] = answer.groups
    error = for_code(code)
    if error is not NoError:
        raise BrokerError(f"consumer group {group}: can't be described: {error.description}")
    return state, len(members)


async def commit_positions(
    connection: KafkaConnection,
    group: str,
    offsets: Mapping[tuple[str, int], int],
    metadata: Mapping[tuple[str, int], str] | None = None,
) -> None:
    """Commit offsets for a group without members.

    Args:
        connection: connects to the cluster.
        group: the group.
        offsets: the offsets to commit, by topic and partition.
        metadata: the metadata of the commits, by topic and partition. A commit without an entry here gets empty
            metadata.

    Raises:
        BrokerError: the group has members, or the cluster can't be reached, or refuses the commit.
    """
    consumer = AIOKafkaConsumer(group_id=group, **connection.consumer_options())
    notes = metadata or {}
    tps = {TopicPartition(*place): OffsetAndMetadata(offset, notes.get(place, "")) for place, offset in offsets.items()}
    try:
        await consumer.start()
        consumer.assign(list(tps))
        await consumer.commit(tps)
    except CommitFailedError as error:
        raise BrokerError(f"consumer group {group}: has members; nothing was committed for it") from error
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await disconnect(consumer)


AT_REST: Final = {"Stable", "Empty", "Dead"}
"""The states of a group that is not rebalancing."""


async def assigned_partitions(connection: KafkaConnection, group: str) -> Mapping[tuple[str, int], str] | None:
    """By partition, the host of the member that owns it; None while the group is rebalancing.

    Raises:
        BrokerError: the cluster can't be reached, or this user may not describe the group.
    """
    async with administration(connection) as admin:
        [answer] = await admin.describe_consumer_groups([group])
    code, _group, state, _type, _protocol, members, *_ = answer.groups[0]
    error = for_code(code)
    if error is not NoError:
        raise BrokerError(f"group {group}: its members can't be described: {error.description or error.message}")
    if state not in AT_REST:
        return None
    found: dict[tuple[str, int], str] = {}
    for _member, _client, host, _metadata, assignment, *_ in members:
        if assignment:
            for topic, numbers in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
                found.update(dict.fromkeys(((topic, number) for number in numbers), host.lstrip("/")))
    return found
