"""Where commands say that a subscription stands, and the worst of its states."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.cli.noted import summary
from pipeline.cluster.positions import Recorded
from pipeline.core.attempts import FailedAttempt, Probes
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cause, Cursor, Status
from pipeline.core.subscription import Start, Subscription
from pipeline.kafka.committed import Committed
from pipeline.kafka.cursor_rows import Row

KEYED = Subscription("a", 9, "https://receiver.example")


def matching(start: int, created: int = 4) -> Subscription:
    return Subscription("a", 9, "https://receiver.example", created=created, starts={"events": Start((start,), "one")})


def recorded(row: Cursor | None = None, committed: int | None = 40, **more: Any) -> Recorded:
    """What is known of one partition, whose log ends at 50."""
    rows = {} if row is None else {"a": [Row(b"a", "events", 0, row, 50)]}
    found = Committed(committed, "one", begun_to=more.pop("begun_to", 5))
    return Recorded("events", {0: LogBounds(0, 50, "one")}, {}, rows, {0: found})


def next_of(found: Recorded, subscription: Subscription) -> int | None:
    [position] = found.of(subscription)
    return position.next


def test_with_key_one_without_a_row_stands_with_the_group() -> None:
    assert next_of(recorded(), KEYED) == 40
    assert next_of(recorded(Cursor(7)), KEYED) == 7
    [position] = recorded(committed=None).of(KEYED)
    assert (position.next, position.unknown) == (None, "no worker has started there yet")


def test_with_match_one_without_a_row_stands_where_it_begins() -> None:
    assert next_of(recorded(), matching(45)) == 45, "it begins after the committed offset"
    assert next_of(recorded(), matching(30)) == 40, "it began long ago"
    assert next_of(recorded(begun_to=4), matching(30)) == 30, "no worker has heard of it yet"
    assert next_of(recorded(committed=None), matching(30)) == 30, "no worker has started there yet"
    assert next_of(recorded(), Subscription("a", 9, "", starts={"events": Start((45,), "other")})) == 40


def test_a_row_of_a_former_subscription_says_nothing() -> None:
    assert next_of(recorded(Cursor(7, revision=2)), matching(45)) == 45
    assert next_of(recorded(Cursor(7, revision=3)), matching(45)) == 7


def rows(*cursors: Cursor | None) -> Sequence[Row]:
    return [Row(b"a", "events", number, cursor, 50) for number, cursor in enumerate(cursors)]


def failed(at: float) -> Cursor:
    return Cursor(48, Status.FAILURE, Cause("gone", "gone", 48, at))


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (rows(), "-"),
        (rows(Cursor(50)), "up to date"),
        (rows(Cursor(48), Cursor(40), Cursor(50)), "up to 12 waiting"),
        (rows(failed(120.0), Cursor(50), failed(60.0)), "FAILURE in partitions 0, 2 since 1970-01-01T00:01:00Z (+1)"),
        (
            rows(replace(failed(60.0), cause=Cause("exception", "refused", 48, 60.0, probes=Probes(1, 180.0)))),
            "FAILURE in partition 0 since 1970-01-01T00:01:00Z, probing, next try at 1970-01-01T00:03:00Z",
        ),
        (rows(failed(60.0), None), "UNREADABLE ROW in partition 1 (+1)"),
        (
            rows(Cursor(48, attempt=2), Cursor(49, attempt=3), Cursor(9)),
            "RETRYING in partitions 0-1, failed attempts: 3, up to 3 waiting (+1)",
        ),
        (rows(Cursor(48, attempt=1, first_attempt_at=9.0)), "up to 2 waiting"),  # its first attempt is under way
        (
            rows(Cursor(48, attempt=1, error=FailedAttempt("status 503", 9.0, 503))),
            "RETRYING in partition 0, failed attempts: 1, up to 2 waiting",
        ),
        (rows(Cursor(48, Status.PAUSED), Cursor(50, Status.PAUSED)), "PAUSED, up to 2 waiting"),
    ],
)
def test_the_worst_state_is_shown_with_its_partitions(found: Sequence[Row], says: str) -> None:
    assert summary(found) == says
