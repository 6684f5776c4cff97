"""Where a stored offset continues when the log has changed."""

import pytest

from pipeline.core.log_bounds import Break, LogBounds, find_break
from pipeline.core.model import Cursor, Status
from pipeline.core.subscription import Qos
from tests.support.core import Core, subscription
from tests.support.virtual_time import in_virtual_time


@pytest.mark.parametrize(
    ("place", "noted", "log", "found"),
    [
        (10, "a", LogBounds(10, 20, "a"), None),
        (20, "a", LogBounds(10, 20, "a"), None),
        (15, None, LogBounds(10, 20, "a"), None),
        (15, "a", LogBounds(10, 20), None),
        (9, "a", LogBounds(10, 20, "a"), Break("retention", 9, 10)),
        (21, "a", LogBounds(10, 20, "a"), Break("truncated", 21, 20)),
        (21, None, LogBounds(10, 20), Break("truncated", 21, 20)),
        (15, "a", LogBounds(0, 20, "b"), Break("recreated", 15, 0)),
        (50, "a", LogBounds(3, 20, "b"), Break("recreated", 50, 3)),
        (15, None, LogBounds(0, 20, "b", former_id="a"), Break("recreated", 15, 0)),
        (15, "b", LogBounds(0, 20, "b", former_id="a"), None),
    ],
)
def test_a_stored_offset_is_kept_or_replaced(
    place: int, noted: str | None, log: LogBounds, found: Break | None
) -> None:
    assert find_break(place, noted, log) == found


@pytest.mark.parametrize(
    ("found", "lost"),
    [(Break("retention", 9, 30), 21), (Break("truncated", 1000, 80), 0), (Break("recreated", 50, 3), 3)],
)
def test_events_deleted_before_they_were_read_count_as_lost(found: Break, lost: int) -> None:
    assert found.lost == lost


async def before(row: Cursor) -> Core:
    """The state that a worker has left: twenty committed events, and a row with the topic id `a`."""
    core = Core(subscription())
    core.produce(20)
    core.committed = 20
    core.row_topic.rows[b"s"] = row
    return core


@pytest.mark.parametrize(
    ("place", "log", "then", "kind", "dropped"),
    [
        (3, LogBounds(0, 20, "a"), 3, None, 0),
        (3, LogBounds(8, 20, "a"), 8, "retention", 5),
        (30, LogBounds(0, 20, "a"), 20, "truncated", 0),
        (13, LogBounds(0, 20, "b"), 0, "recreated", 0),
    ],
)
@in_virtual_time
async def test_a_row_is_compared_with_the_log_and_corrected(
    place: int, log: LogBounds, then: int, kind: str | None, dropped: int
) -> None:
    left = await before(Cursor(place, Status.FAILURE, attempt=2, revision=0, topic_id="a"))
    core = await Core(before=left).open(log)
    assert core.lane().next == then
    assert core.lane().status is Status.FAILURE, "a failed subscription still waits for an operator"
    assert core.telemetry.drops["retention"] == dropped
    assert {name: count for name, count in core.telemetry.log_breaks.items() if count} == ({kind: 1} if kind else {})
    await core.land()
    row = core.row_topic.rows[b"s"]
    assert (row.next, row.attempt, row.topic_id) == (then, 0 if kind else 2, log.topic_id if kind else "a")
    await core.end()

    again = await Core(before=core).open(log)
    assert not any(again.telemetry.log_breaks.values()), "the break is reported only once"
    await again.end()


@in_virtual_time
async def test_a_claim_row_of_a_former_topic_hides_no_new_event() -> None:
    left = await before(Cursor(20, revision=0, topic_id="a"))
    left.committed = 0
    core = await Core(subscription(qos=Qos.AT_MOST_ONCE), before=left).open(LogBounds(0, 20, "b"))
    await core.dispatch(core.log.read(0, 1))
    await core.land()
    assert core.pending == [0]
    await core.end()
