"""The positions of subscriptions that commands show."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.cli.export_positions import refusals
from pipeline.cluster.positions import Recorded
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cursor
from pipeline.core.subscription import ReplayOffset, ReplayTimestamp, ResumeFrom, Skip, Start, Subscription
from pipeline.kafka.committed import Committed
from pipeline.kafka.cursor_rows import StoredRow
from pipeline.kafka.group_positions import GroupPositions

KEYED = Subscription("a", 9, "https://receiver.example")


def matching(start: int, created: int = 4) -> Subscription:
    return Subscription("a", 9, "https://receiver.example", created=created, starts={"events": Start((start,), "one")})


def recorded(row: Cursor | None = None, committed: int | None = 40, **more: Any) -> Recorded:
    """What is recorded about one partition whose log ends at 50."""
    rows = {} if row is None else {"a": [StoredRow(b"a", "events", 0, row, 50)]}
    found = Committed(committed, "one", begun_to=more.pop("begun_to", 5))
    return Recorded("events", {0: LogBounds(0, 50, "one")}, {}, rows, {0: found})


def next_of(found: Recorded, subscription: Subscription) -> int | None:
    [position] = found.of(subscription)
    return position.next


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (1, 'group "{}" still has members: '),
        (None, 'the members of group "{}" can\'t be seen, so it may still have some: '),
    ],
)
def test_positions_of_a_group_that_may_have_members_are_kept(members: int | None, problem: str) -> None:
    groups = {"app": GroupPositions({}, members=members), "theirs": GroupPositions({}, members=members)}
    assert refusals("app", groups, {}) == [
        f"{problem.format('app')}stop the workers",
        f"{problem.format('theirs')}stop its consumers",
    ]
    assert refusals("app", {"app": GroupPositions({})}, {}) == []


def test_with_key_a_lane_without_row_is_at_the_committed_offset() -> None:
    assert next_of(recorded(), KEYED) == 40
    assert next_of(recorded(Cursor(7)), KEYED) == 7
    [position] = recorded(committed=None).of(KEYED)
    assert (position.next, position.unknown) == (None, "no worker has opened this partition yet")


def test_with_match_a_missing_row_means_the_start_or_the_commit() -> None:
    assert next_of(recorded(), matching(45)) == 45, "the subscription begins after the committed offset"
    assert next_of(recorded(), matching(30)) == 40, "the subscription began before the committed offset"
    assert next_of(recorded(begun_to=4), matching(30)) == 30, "no worker has read the subscription yet"
    assert next_of(recorded(committed=None), matching(30)) == 30, "no worker has opened this partition yet"
    assert next_of(recorded(), Subscription("a", 9, "", starts={"events": Start((45,), "other")})) == 40


def test_a_row_of_a_deleted_subscription_is_ignored() -> None:
    assert next_of(recorded(Cursor(7, revision=2)), matching(45)) == 45
    assert next_of(recorded(Cursor(7, revision=3)), matching(45)) == 7


@pytest.mark.parametrize(
    ("command", "row", "unknown"),
    [
        (ReplayOffset(0, 3), Cursor(7, revision=8), "replay"),
        (ReplayOffset(0, 3), None, "replay"),
        (ReplayTimestamp(1000), Cursor(7, revision=8), "replay"),
        (ReplayTimestamp(1000), None, "replay"),
        (Skip(0, 7), Cursor(7, revision=8), "skip"),
        (ReplayOffset(0, 3), Cursor(7, revision=9), None),
        (ReplayOffset(1, 3), Cursor(7, revision=8), None),
        (ReplayOffset(0, 3, topic="refunds"), None, None),
        (Skip(0, 7, "refunds"), Cursor(7, revision=8), None),
        (Skip(0, 7), None, None),  # a skip that skips nothing leaves no row
    ],
)
def test_a_position_is_unknown_while_a_command_is_pending(
    command: ResumeFrom, row: Cursor | None, unknown: str | None
) -> None:
    commanded = replace(KEYED, resume_from=command)
    later = replace(KEYED, revision=12, earlier=commanded.commands)
    for each in commanded, later:
        [position] = recorded(row).of(each)
        if unknown is None:
            assert (position.next, position.unknown) == (40 if row is None else 7, None)
        else:
            assert position.next is None
            assert position.unknown == f"no worker has carried out the {unknown} of revision 9 yet"
