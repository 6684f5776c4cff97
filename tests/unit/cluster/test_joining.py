"""The state of a subscription, joined from rows, announcements and partitions."""

from dataclasses import replace

import pytest

from pipeline.cluster.announcement import AnnouncedLane
from pipeline.cluster.joining import (
    LONGEST_SHAPED,
    Owner,
    joined,
    reason_of,
    shape,
    summary_of_announced,
    summary_of_row,
)
from pipeline.cluster.rows_seen import SeenRow
from pipeline.cluster.state import LaneSummary, PartitionState, State
from pipeline.core.attempts import Attempts, FailedAttempt, Probes
from pipeline.core.model import Cause, Cursor, Standing, Status, UnreadableRow
from pipeline.core.subscription import DesiredStatus
from tests.support.core import subscription

PLACE = ("events", 0)
PARTITION = PartitionState("events", 0, 90, opened_at=0, dispatched=100, counted_to=98, is_counted=True, end=100)
OWNER = Owner("w:1", is_unowned=False, partition=PARTITION)
NOBODY = Owner(None, is_unowned=True, partition=PARTITION, end=120)
STANDING = Standing(is_live=False, waiting_at_most=4, waiting_is_exact=True, dispatched=95, last_success_at=7.0)
ERROR = FailedAttempt("the callback answered 503", 50.0, 503)


def lane(row: Cursor, owner: Owner = OWNER) -> LaneSummary:
    return summary_of_row(PLACE, SeenRow(row, 60.0), owner)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (Cursor(9, Status.FAILURE), "failure"),
        (Cursor(9, Status.PAUSED), "paused"),
        (Cursor(9, Status.STOPPED), "stopped"),
        (Cursor(9, Status.CLOSED), "closed"),
        (Cursor(9), "behind"),
        (Cursor(9, attempt=1, first_attempt_at=3.0), "behind"),
        (Cursor(9, attempt=1, first_attempt_at=3.0, not_before=9.0), "retrying"),
        (Cursor(9, attempt=2, first_attempt_at=3.0), "retrying"),
        (Cursor(9, attempt=1, first_attempt_at=3.0, error=ERROR), "retrying"),
        (Cursor(9, standing=replace(STANDING, is_live=True)), "live"),
    ],
)
def test_the_state_of_a_lane_comes_from_its_row(row: Cursor, state: State) -> None:
    assert lane(row).state == state


def test_an_old_row_of_the_present_owner_has_an_exact_count() -> None:
    found = lane(Cursor(9, Status.FAILURE, standing=STANDING))
    assert (found.waiting, found.waiting_at_most, found.last_success_at) == (4, 4, 7.0)


@pytest.mark.parametrize(
    ("standing", "owner", "at_most"),
    [
        # The lane's worker has not counted the newer events of the stream, which may be other subscriptions' events.
        (replace(STANDING, waiting_is_exact=False), OWNER, 4 + 100 - 98),
        # The partition has a new owner, and no worker has counted the events between the row and the opening.
        (STANDING, replace(OWNER, partition=replace(PARTITION, opened_at=96)), 4 + 100 - 95),
        # The worker has more lanes to count than it may write rows for.
        (STANDING, replace(OWNER, partition=replace(PARTITION, is_counted=False)), 4 + 100 - 98),
        # The partition has no owner, so the bound is the end of the log.
        (STANDING, NOBODY, 4 + 120 - 95),
        # No worker has announced the partition.
        (STANDING, Owner(None, is_unowned=False, partition=None), None),
        (STANDING, replace(NOBODY, end=None), None),
        # A row of an earlier version.
        (None, OWNER, 100 - 9),
    ],
)
def test_without_a_row_of_the_owner_the_count_is_not_exact(
    standing: Standing | None, owner: Owner, at_most: int | None
) -> None:
    found = lane(Cursor(9, Status.FAILURE, standing=standing), owner)
    assert (found.waiting, found.waiting_at_most) == (None, at_most)


def test_a_failure_shows_its_attempts() -> None:
    cause = Cause("server-error", "the callback answered 503", 9, 60.0, Attempts(3, 40.0, 503))
    found = lane(Cursor(9, Status.FAILURE, cause))
    assert (found.cause, found.attempts, found.failing_since, found.next_try_at) == (cause, 3, 40.0, None)
    probed = lane(Cursor(9, Status.FAILURE, replace(cause, probes=Probes(1, 90.0))))
    assert probed.next_try_at == 90.0


@pytest.mark.parametrize("status", [Status.PAUSED, Status.STOPPED, Status.CLOSED, Status.FAILURE])
def test_a_halted_lane_has_no_time_for_its_next_attempt(status: Status) -> None:
    found = lane(Cursor(9, status, attempt=1, first_attempt_at=40.0, not_before=90.0))
    assert (found.attempts, found.next_try_at) == (1, None)
    assert lane(Cursor(9, Status.STARTED, attempt=1, first_attempt_at=40.0, not_before=90.0)).next_try_at == 90.0


def test_an_unreadable_row_is_reported_as_broken() -> None:
    found = summary_of_row(PLACE, SeenRow(UnreadableRow("it is not JSON", 9), 60.0), OWNER)
    assert (found.state, found.next, found.waiting) == ("broken", 9, None)
    reason = reason_of([SeenRow(UnreadableRow("it is not JSON", 9), 60.0)])
    assert reason is not None
    assert (reason.kind, reason.message) == ("cursor", "its cursor row can't be read: it is not JSON")


def test_a_failure_without_an_owner_is_still_a_failure() -> None:
    assert lane(Cursor(9, Status.FAILURE), NOBODY).state == "failure"
    assert lane(Cursor(9), NOBODY).state == "unowned"


def test_a_failure_without_an_owner_lacks_a_worker() -> None:
    failed = lane(Cursor(9, Status.FAILURE), NOBODY)
    for unowned in ([PLACE], []):
        found = joined(
            subscription(),
            Status.STARTED,
            [failed],
            is_unowned=False,
            has_told_all=True,
            last_success_at=None,
            unowned=unowned,
        )
        assert (found.state, found.lacks_worker) == ("failure", bool(unowned))


def test_a_failure_with_one_owned_partition_has_a_worker() -> None:
    lanes = [replace(lane(Cursor(9, Status.FAILURE), NOBODY), partition=number) for number in (0, 7)]
    found = joined(
        subscription(),
        Status.STARTED,
        lanes,
        is_unowned=False,
        has_told_all=True,
        last_success_at=None,
        unowned=[PLACE],
    )
    assert (found.state, found.lacks_worker) == ("failure", False)


def test_the_state_of_a_live_lane_is_announced_by_its_worker() -> None:
    lane = AnnouncedLane("s", "events", 0, 9, 2, attempts=2, failing_since=40.0, next_try_at=70.0, error=ERROR)
    found = summary_of_announced(lane, OWNER)
    assert (found.state, found.waiting, found.attempts, found.error) == ("retrying", 2, 2, ERROR)
    assert summary_of_announced(replace(lane, error=None), OWNER).state == "live"


def test_a_subscription_has_the_state_of_its_most_urgent_lane() -> None:
    failed = lane(Cursor(9, Status.FAILURE, Cause("gone", "gone", 9, 60.0), standing=STANDING))
    behind = lane(Cursor(9, standing=replace(STANDING, waiting_at_most=3)))
    found = joined(
        subscription(), Status.STARTED, [behind, failed], is_unowned=False, has_told_all=True, last_success_at=8.0
    )
    assert (found.state, found.waiting, found.cause) == ("failure", 7, failed.cause)
    assert found.last_success_at == 8.0


@pytest.mark.parametrize(
    ("status", "unowned", "told", "state", "waiting"),
    [
        (Status.STARTED, False, True, "live", 0),
        (Status.STARTED, False, False, "live", None),
        (Status.STARTED, True, True, "unowned", None),
        (Status.PAUSED, False, True, "paused", 0),
        (Status.FAILURE, False, True, "broken", 0),
    ],
)
def test_a_subscription_without_lanes_has_a_state_as_well(
    status: Status, *, unowned: bool, told: bool, state: State, waiting: int | None
) -> None:
    found = joined(subscription(), status, [], is_unowned=unowned, has_told_all=told, last_success_at=None)
    assert (found.state, found.waiting, found.waiting_is_exact) == (state, waiting, waiting is not None)


@pytest.mark.parametrize(
    ("desired", "now", "times"),
    [
        (DesiredStatus.DELIVER, 5.0, ("paused", 10.0, None)),
        (DesiredStatus.PAUSED, 5.0, ("paused", None, None)),
        (DesiredStatus.DELIVER, 15.0, ("live", None, None)),
        (DesiredStatus.DELIVER, 25.0, ("closed", None, 20.0)),
        (DesiredStatus.CLOSED, 25.0, ("closed", None, None)),
    ],
)
def test_a_state_that_comes_from_the_period_names_the_time(
    desired: DesiredStatus, now: float, times: tuple[State, float | None, float | None]
) -> None:
    planned = subscription(desired_status=desired, starting_at=10.0, ending_at=20.0)
    found = joined(planned, planned.status_at(now), [], is_unowned=False, has_told_all=True, last_success_at=None)
    assert (found.state, found.begins_at, found.ended_at) == times


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("the callback answered 503", "the callback answered 503"),
        ("connection refused by 10.0.0.1:8080", "connection refused by …"),
        ("connection refused by api.example:443", "connection refused by …"),
        ("connection refused by [::1]:8080", "connection refused by …"),
        ("no answer within 10.0 s", "no answer within … s"),
        ("key '4711' is not known", "key … is not known"),
        ("id 0b0f7f62-8a4f-4b3e-9d8d-5c4f3e2d1c0b is gone", "id … is gone"),
        ("digest deadbeef01234567 differs", "digest … differs"),
        ("the certificate is not trusted", "the certificate is not trusted"),
    ],
)
def test_messages_are_grouped_despite_addresses_and_numbers(message: str, found: str) -> None:
    assert shape(message) == found


def test_only_the_beginning_of_a_long_hostile_message_is_used() -> None:
    assert len(shape("x" * 1_000_000)) == LONGEST_SHAPED
