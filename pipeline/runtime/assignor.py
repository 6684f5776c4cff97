"""Assigns partitions by number: a worker that is assigned number 3 gets partition 3 of every topic.

So the events of a partition number, its rows in `<app>.cursors` and its access tokens are in one worker. Faust's
assignor does this only for topics that have the same number of partitions. So this assignor tells Faust's assignor that
all topics have the same number of partitions and that all members read all topics. From the result, it removes the
partitions that do not exist, and those of topics that a member does not read. This is necessary in the following cases:

- A source topic may have fewer partitions than another.
- Topics are expanded one after the other, and the changelog topics of the tables last (kafka/expansion.py). A number is
  assigned only when these topics have it.
- While workers are restarted with another definition, some members do not read all topics.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import (
    ClientAssignmentMapping,
    MemberAssignmentMapping,
    MemberMetadataMapping,
)
from faust.types.assignor import HostToPartitionMap


class PartitionCounts(Protocol):
    """The method of aiokafka's `ClusterMetadata` that is used here."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The partitions of a topic; None if it is unknown."""


class Levelled:
    """Metadata of a cluster in which all topics have the same number of partitions.

    Args:
        counts: the number of partitions of each known topic that the group reads.
        own: the topics that must have a partition before its number is assigned.
    """

    def __init__(self, counts: Mapping[str, int], own: Iterable[str]) -> None:
        self._known = counts.keys()
        most = max((count for topic, count in counts.items() if topic not in own), default=0)
        self.count = min([most, *(counts[topic] for topic in own if topic in counts)])

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """See `PartitionCounts`."""
        return set(range(self.count)) if topic in self._known else None


class LevelAssignor(PartitionAssignor):
    """Faust's assignor, changed to assign partition numbers."""

    _counts: Mapping[str, int]
    _reads: Mapping[str, frozenset[str]]

    def _perform_assignment(
        self, cluster: PartitionCounts, member_metadata: MemberMetadataMapping
    ) -> MemberAssignmentMapping:
        self._reads = {member: frozenset(each.subscription) for member, each in member_metadata.items()}
        topics = sorted(frozenset[str]().union(*self._reads.values()))
        self._counts = {topic: len(found) for topic in topics if (found := cluster.partitions_for_topic(topic))}
        level = Levelled(self._counts, self._table_manager.changelog_topics)
        members = {member: _as_all(metadata, topics, level.count) for member, metadata in member_metadata.items()}
        return super()._perform_assignment(level, members)

    def _protocol_assignments(
        self,
        assignments: ClientAssignmentMapping,
        cl_distribution: HostToPartitionMap,
        tp_distribution: HostToPartitionMap,
        topic_groups: Mapping[str, int],
    ) -> MemberAssignmentMapping:
        real = {
            member: ClientAssignment(self._real(member, each.actives), self._real(member, each.standbys))
            for member, each in assignments.items()
        }
        return super()._protocol_assignments(real, cl_distribution, tp_distribution, topic_groups)

    def _real(self, member: str, assigned: Mapping[str, list[int]]) -> dict[str, list[int]]:
        """The assigned partitions that exist and whose topics the member reads."""
        return {
            topic: [number for number in numbers if number < self._counts[topic]]
            for topic, numbers in assigned.items()
            if topic in self._reads[member]
        }


def _as_all(metadata: ConsumerProtocolMemberMetadata, topics: list[str], count: int) -> ConsumerProtocolMemberMetadata:
    """A member's metadata, changed so that the member seems to read all topics.

    Numbers from *count* on are removed: a new leader may know fewer partitions than the last one, and Faust would fail
    on an unknown partition.
    """
    client = ClientMetadata.loads(metadata.user_data)
    client.assignment = ClientAssignment(
        actives=_alike(client.assignment.actives, topics, count),
        standbys=_alike(client.assignment.standbys, topics, count),
    )
    return ConsumerProtocolMemberMetadata(metadata.version, topics, client.dumps())


def _alike(assignment: Mapping[str, list[int]], topics: list[str], count: int) -> dict[str, list[int]]:
    numbers = sorted({number for found in assignment.values() for number in found if number < count})
    return dict.fromkeys(topics, numbers) if numbers else {}
