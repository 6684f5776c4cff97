"""Assigns partition numbers: a worker that gets a number gets the partition with that number of every topic.

So a number's events, its rows in `<app>.cursors` and its tokens are on one worker, for any number of source topics.
Faust does this only for topics with equally many partitions. So all topics are presented to it as equally large and
subscribed by all members. Afterwards, the partitions that a topic does not have or a member does not read are removed:

- A source topic may have fewer partitions than another.
- While topics are expanded one after the other, a number is assigned only when the changelogs of the tables have it,
  which are expanded last (kafka/expansion.py).
- While workers are restarted with another definition, a member gets no partition of a topic that it does not read.
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
    """The part of aiokafka's `ClusterMetadata` that is used here."""

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """The partitions of a topic; None if it is unknown."""
        ...


class Levelled:
    """A view of a cluster in which all topics have equally many partitions.

    Args:
        counts: the partitions of each topic that the group reads, without unknown topics.
        own: the topics that must have a number before it is assigned.
    """

    def __init__(self, counts: Mapping[str, int], own: Iterable[str]) -> None:
        self._known = counts.keys()
        most = max((count for topic, count in counts.items() if topic not in own), default=0)
        self.count = min([most, *(counts[topic] for topic in own if topic in counts)])

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """See `PartitionCounts`."""
        return set(range(self.count)) if topic in self._known else None


class LevelAssignor(PartitionAssignor):
    """Faust's assignor, which assigns numbers."""

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
        """The partitions that exist, of topics that the member reads."""
        return {
            topic: [number for number in numbers if number < self._counts[topic]]
            for topic, numbers in assigned.items()
            if topic in self._reads[member]
        }


def _as_all(metadata: ConsumerProtocolMemberMetadata, topics: list[str], count: int) -> ConsumerProtocolMemberMetadata:
    """A member's metadata as if it read all topics, with the same numbers of each. Numbers from *count* on are removed.

    A new leader that has not refreshed its metadata may know fewer partitions than the last one. Faust would fail on
    the partitions that the leader does not know.
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
