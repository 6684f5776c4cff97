"""Assigns partitions: Faust's assignor, for topics that are expanded one after the other.

Faust assigns the same partitions of two topics to a worker only if both have the same number. If only the source had
grown, Faust would assign them independently, and tokens would be on other workers than their events. Here, the group
gets a partition only when all topics of the group have it (kafka/expansion.py).
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import MemberAssignmentMapping, MemberMetadataMapping


class PartitionCounts(Protocol):
    """The part of aiokafka's `ClusterMetadata` that is used here."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The partitions of a topic; None if it is unknown."""
        ...


class Levelled:
    """A view of a cluster in which all topics have as many partitions as the smallest one.

    Args:
        cluster: the real cluster.
        topics: the topics that the group reads; unknown ones stay unknown.
    """

    def __init__(self, cluster: PartitionCounts, topics: Iterable[str]) -> None:
        self._known = {topic for topic in topics if cluster.partitions_for_topic(topic)}
        self.count = min((len(cluster.partitions_for_topic(topic) or ()) for topic in self._known), default=0)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """See `PartitionCounts`."""
        return set(range(self.count)) if topic in self._known else None


class LevelAssignor(PartitionAssignor):
    """Faust's assignor, restricted to the partitions that all topics of the group have."""

    def _perform_assignment(
        self, cluster: PartitionCounts, member_metadata: MemberMetadataMapping
    ) -> MemberAssignmentMapping:
        topics = {topic for metadata in member_metadata.values() for topic in metadata.subscription}
        level = Levelled(cluster, topics)
        members = {member: _within(metadata, level.count) for member, metadata in member_metadata.items()}
        return super()._perform_assignment(level, members)


def _within(metadata: ConsumerProtocolMemberMetadata, count: int) -> ConsumerProtocolMemberMetadata:
    """A member's metadata without the partitions that the leader does not know.

    Until it refreshes its metadata, a new leader may know fewer partitions than the last one; Faust then fails on the
    members' partitions.
    """
    client = ClientMetadata.loads(metadata.user_data)
    client.assignment = ClientAssignment(
        actives=_below(client.assignment.actives, count), standbys=_below(client.assignment.standbys, count)
    )
    return ConsumerProtocolMemberMetadata(metadata.version, metadata.subscription, client.dumps())


def _below(assignment: Mapping[str, list[int]], count: int) -> dict[str, list[int]]:
    return {topic: [number for number in numbers if number < count] for topic, numbers in assignment.items()}
