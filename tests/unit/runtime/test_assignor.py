"""Assignments by Faust's real assignor, for topics that gain partitions one after another."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import faust
import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from pipeline.runtime.assignor import LevelAssignor
from pipeline.runtime.token_table import add_token_table

SOURCE, OTHER, CHANGELOG = "events", "others", "unnamed-tokens-changelog"
Shares = dict[str, dict[str, list[int]]]


class Topics:
    """The metadata of a cluster."""

    def __init__(self, **counts: int) -> None:
        self._counts = {name.replace("_", "-"): count for name, count in counts.items()}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        count = self._counts.get(topic)
        return None if count is None else set(range(count))


@pytest.fixture
def assignor(tmp_path: Path) -> LevelAssignor:
    app = faust.App("unnamed", datadir=tmp_path, store="memory://")
    add_token_table(app)
    return LevelAssignor(app)


def assigned(
    assignor: LevelAssignor, topics: Topics, shares: Shares, reads: Mapping[str, Sequence[str]] | None = None
) -> Shares:
    """The assignment of each member, given its current assignment and the source topics that it reads."""
    metadata = {
        member: application(member, share, (SOURCE,) if reads is None else reads[member])
        for member, share in shares.items()
    }
    found = assignor._perform_assignment(topics, metadata)
    return {member: {topic: sorted(numbers) for topic, numbers in each.assignment} for member, each in found.items()}


def application(member: str, share: Mapping[str, list[int]], reads: Sequence[str]) -> ConsumerProtocolMemberMetadata:
    client = ClientMetadata(
        assignment=ClientAssignment(actives=dict(share), standbys={}),
        url=f"http://{member}:6066",
        changelog_distribution={},
        external_topic_distribution={},
        topic_groups={},
    )
    return ConsumerProtocolMemberMetadata(4, [*reads, CHANGELOG], client.dumps())


def both(*numbers: int) -> dict[str, list[int]]:
    """The same partitions of both topics."""
    return {SOURCE: list(numbers), CHANGELOG: list(numbers)}


def test_a_partition_is_assigned_once_its_changelogs_have_it(assignor: LevelAssignor) -> None:
    before = {"a": both(0), "b": both(1)}
    assert assigned(assignor, Topics(events=5, unnamed_tokens_changelog=2), before) == before


def test_members_keep_their_partitions_when_topics_grow(
    assignor: LevelAssignor,
) -> None:
    found = assigned(assignor, Topics(events=5, unnamed_tokens_changelog=5), {"a": both(0), "b": both(1)})
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1, 2, 3, 4]
    assert all(share[SOURCE] == share[CHANGELOG] for share in found.values())
    assert 0 in found["a"][SOURCE]
    assert 1 in found["b"][SOURCE]


def test_a_leader_with_old_metadata_assigns_known_partitions(
    assignor: LevelAssignor,
) -> None:
    """Faust's own assignor fails if members have only partitions that the leader does not know yet."""
    found = assigned(assignor, Topics(events=2, unnamed_tokens_changelog=2), {"a": both(3), "b": both(4)})
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1]
    assert all(share[SOURCE] == share[CHANGELOG] for share in found.values())


def test_a_missing_topic_does_not_affect_the_others(assignor: LevelAssignor) -> None:
    found = assigned(assignor, Topics(events=2), {"a": {}, "b": {}})
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1]


BOTH: dict[str, Sequence[str]] = {"a": (SOURCE, OTHER), "b": (SOURCE, OTHER)}


def test_equal_partition_numbers_belong_to_the_same_member(assignor: LevelAssignor) -> None:
    topics = Topics(events=5, others=2, unnamed_tokens_changelog=5)
    found = assigned(assignor, topics, {"a": {}, "b": {}}, BOTH)
    for share in found.values():
        assert share[SOURCE] == share[CHANGELOG]
        assert share[OTHER] == [number for number in share[SOURCE] if number < 2]
    assert sorted(number for share in found.values() for number in share[SOURCE]) == [0, 1, 2, 3, 4]
    assert sorted(number for share in found.values() for number in share[OTHER]) == [0, 1]
    assert assigned(assignor, topics, found, BOTH) == found, "a second assignment moves no partition"


def test_an_added_topic_is_assigned_by_partition_number(assignor: LevelAssignor) -> None:
    before = {"a": both(0, 2), "b": both(1, 3)}
    found = assigned(assignor, Topics(events=4, others=3, unnamed_tokens_changelog=4), before, BOTH)
    assert {member: share[SOURCE] for member, share in found.items()} == {"a": [0, 2], "b": [1, 3]}
    assert {member: share[OTHER] for member, share in found.items()} == {"a": [0, 2], "b": [1]}


def test_a_member_gets_no_topic_that_it_does_not_read(assignor: LevelAssignor) -> None:
    """While the definition changes, members read different topics. Kafka's client fails if it gets another topic."""
    topics = Topics(events=4, others=4, unnamed_tokens_changelog=4)
    before = {"a": both(0, 2), "b": both(1, 3)}
    found = assigned(assignor, topics, before, {"a": (SOURCE,), "b": (SOURCE, OTHER)})
    assert found == {"a": both(0, 2), "b": {**both(1, 3), OTHER: [1, 3]}}


def test_a_new_partition_is_assigned_once_the_changelog_has_it(assignor: LevelAssignor) -> None:
    found = assigned(
        assignor, Topics(events=2, others=5, unnamed_tokens_changelog=3), {"a": {}}, {"a": (SOURCE, OTHER)}
    )
    assert found == {"a": {SOURCE: [0, 1], OTHER: [0, 1, 2], CHANGELOG: [0, 1, 2]}}
