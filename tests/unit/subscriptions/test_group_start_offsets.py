"""Where a subscription begins that continues from a consumer group, or why it can't. Needs no broker."""

from dataclasses import replace
from typing import Literal

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.kafka.group_positions import GroupPositions
from pipeline.kafka.log_positions import LogPositions
from pipeline.subscriptions.group_start_offsets import StartGroup, begin_at_group, refusals

LOG = LogPositions("t1", begins=[5, 0, 0], ends=[9, 4, 0], since={1000: [6, 2, 0]})
GROUP = GroupPositions({"orders": {0: 7, 1: 4}}, {"orders": "t1"})


def refused(group: GroupPositions, log: LogPositions = LOG) -> list[str]:
    return refusals("g", group, {"orders": log})


def offsets(group: GroupPositions, reset: Literal["earliest", "latest"], time_ms: int | None = None) -> list[int]:
    found = begin_at_group(StartGroup("g", None), group, {"orders": LOG}, reset, time_ms)
    return list(found.starts["orders"].offsets)


def test_a_subscription_begins_at_the_committed_offsets() -> None:
    assert refused(GROUP) == []
    found = begin_at_group(StartGroup("g", None), GROUP, {"orders": LOG}, "latest", None)
    assert found.starts["orders"].model_dump() == {"topic_id": "t1", "offsets": [7, 4, 0]}
    assert found.remark is None, "partition 2 has never had an event"


def test_a_group_may_be_at_the_end_of_the_log() -> None:
    assert refused(GroupPositions({"orders": {0: 9}}, {"orders": "t1"})) == []


def test_a_committed_offset_that_was_deleted_remains_the_start() -> None:
    # The lane that begins there counts and logs the deleted events.
    assert offsets(GroupPositions({"orders": {0: 2, 1: 4}}), "latest") == [2, 4, 0]


def test_a_partition_without_a_commit_follows_auto_offset_reset() -> None:
    group = GroupPositions({"orders": {0: 7}})
    assert offsets(group, "earliest") == [7, 0, 0]
    assert offsets(group, "earliest", 1000) == [7, 0, 0]
    assert offsets(group, "latest", 1000) == [7, 2, 0]
    with pytest.raises(ConfigurationError, match=r'^startFrom: group "g" has committed nothing in orders 1, and '):
        offsets(group, "latest")


def test_a_recreated_topic_is_refused() -> None:
    before = replace(GROUP, topic_ids={"orders": "t0"})
    assert refused(before) == ['startFrom: group "g": topic orders was recreated meanwhile: its id was t0 and is t1']
    assert refused(replace(GROUP, topic_ids={"orders": None})) == [], "the brokers have no topic ids"


def test_offsets_after_the_end_of_the_log_are_refused() -> None:
    former = "an offset of a former topic with this name"
    assert refused(GroupPositions({"orders": {1: 5, 3: 1}}, {"orders": "t1"})) == [
        f'startFrom: group "g" has committed 5 in partition 1 of orders, {former}: the log ends at 4',
        f'startFrom: group "g" has committed 1 in partition 3 of orders, {former}: there are 3 partitions',
    ]


@pytest.mark.parametrize(
    ("group", "why"),
    [
        (GroupPositions({}), "has committed nothing in orders: "),
        (replace(GROUP, members=None), "hides its members, "),
        (replace(GROUP, members=1), "still has a member, "),
        (replace(GROUP, members=2), "still has 2 members, "),
    ],
)
def test_an_unusable_group_is_refused(group: GroupPositions, why: str) -> None:
    [problem] = refused(group)
    assert problem.startswith(f'startFrom: group "g" {why}')
