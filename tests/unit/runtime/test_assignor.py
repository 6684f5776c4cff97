"""Assignments: real ones of Faust's assignor, over topics that grow one after the other."""

from collections.abc import Mapping
from pathlib import Path

import faust
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from pipeline.runtime.assignor import LevelAssignor

SOURCE, CHANGELOG = "events", "tokens-changelog"
Shares = dict[str, dict[str, list[int]]]


class Topics:
    """A cluster, as its metadata show it."""

    def __init__(self, **counts: int) -> None:
        self._counts = {name.replace("_", "-"): count for name, count in counts.items()}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        count = self._counts.get(topic)
        return None if count is None else set(range(count))


@pytest.fixture
def assignor(tmp_path: Path) -> LevelAssignor:
    return LevelAssignor(faust.App("unnamed", datadir=tmp_path))


def assigned(assignor: LevelAssignor, topics: Topics, shares: Shares) -> Shares:
    """What each member gets, given what each has."""
    metadata = {member: application(member, share) for member, share in shares.items()}
    found = assignor._perform_assignment(topics, metadata)
    return {member: {topic: sorted(numbers) for topic, numbers in each.assignment} for member, each in found.items()}


def application(member: str, share: Mapping[str, list[int]]) -> ConsumerProtocolMemberMetadata:
    client = ClientMetadata(
        assignment=ClientAssignment(actives=dict(share), standbys={}),
        url=f"http://{member}:6066",
        changelog_distribution={},
        external_topic_distribution={},
        topic_groups={},
    )
    return ConsumerProtocolMemberMetadata(4, [SOURCE, CHANGELOG], client.dumps())


def both(*numbers: int) -> dict[str, list[int]]:
    """The same partitions of both topics."""
    return {SOURCE: list(numbers), CHANGELOG: list(numbers)}


def test_a_partition_of_the_source_alone_is_not_assigned_yet(assignor: LevelAssignor) -> None:
    before = {"a": both(0), "b": both(1)}
    assert assigned(assignor, Topics(events=5, tokens_changelog=2), before) == before


def test_grown_topics_are_shared_alike_and_members_keep_theirs(
    assignor: LevelAssignor,
) -> None:
    found = assigned(assignor, Topics(events=5, tokens_changelog=5), {"a": both(0), "b": both(1)})
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1, 2, 3, 4]
    assert all(share[SOURCE] == share[CHANGELOG] for share in found.values())
    assert 0 in found["a"][SOURCE]
    assert 1 in found["b"][SOURCE]


def test_a_leader_with_old_metadata_assigns_known_partitions(
    assignor: LevelAssignor,
) -> None:
    """Members that have only partitions which their leader does not know make Faust's own assignor fail."""
    found = assigned(assignor, Topics(events=2, tokens_changelog=2), {"a": both(3), "b": both(4)})
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1]
    assert all(share[SOURCE] == share[CHANGELOG] for share in found.values())


def test_a_missing_topic_does_not_hinder_the_others(assignor: LevelAssignor) -> None:
    found = assigned(assignor, Topics(events=2), {"a": {}, "b": {}})
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1]
