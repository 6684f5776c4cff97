"""Who gets which partitions: Faust's assignor, for topics that grow one after the other.

Faust gives a worker the same partitions of two topics only while these have equally many: after a growth of the source
alone it would share them out one by one, and tokens would lie with other workers than their events. Here a partition
belongs to the group as soon as all topics of the group have it, and not before (kafka/expansion.py).
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import MemberAssignmentMapping, MemberMetadataMapping


class PartitionCounts(Protocol):
    """What is used of aiokafka's `ClusterMetadata`."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The partitions of a topic; None if it is unknown."""
        ...


class Levelled:
    """A cluster whose topics have as many partitions as the smallest of them.

    Args:
        cluster: as it is.
        topics: that the group reads; those that are unknown stay so.
    """

    def __init__(self, cluster: PartitionCounts, topics: Iterable[str]) -> None:
        self._known = {topic for topic in topics if cluster.partitions_for_topic(topic)}
        self.count = min((len(cluster.partitions_for_topic(topic) or ()) for topic in self._known), default=0)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """See `PartitionCounts`."""
        return set(range(self.count)) if topic in self._known else None


class LevelAssignor(PartitionAssignor):
    """Faust's assignor over the partitions that all topics of the group have."""

    def _perform_assignment(
        self, cluster: PartitionCounts, member_metadata: MemberMetadataMapping
    ) -> MemberAssignmentMapping:
        topics = {topic for metadata in member_metadata.values() for topic in metadata.subscription}
        level = Levelled(cluster, topics)
        members = {member: _within(metadata, level.count) for member, metadata in member_metadata.items()}
        return super()._perform_assignment(level, members)


def _within(metadata: ConsumerProtocolMemberMetadata, count: int) -> ConsumerProtocolMemberMetadata:
    """A member's application without partitions that its leader does not know of.

    A new leader may know of fewer than the last one, until it looks again: Faust then fails at what members have.
    """
    client = ClientMetadata.loads(metadata.user_data)
    client.assignment = ClientAssignment(
        actives=_below(client.assignment.actives, count), standbys=_below(client.assignment.standbys, count)
    )
    return ConsumerProtocolMemberMetadata(metadata.version, metadata.subscription, client.dumps())


def _below(assignment: Mapping[str, list[int]], count: int) -> dict[str, list[int]]:
    return {topic: [number for number in numbers if number < count] for topic, numbers in assignment.items()}
