"""A row that can't be read stops its own lane, with a cause, and no other lane."""

import pytest

from pipeline.core.lane_state import LaneState
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cursor, Status, UnreadableRow
from pipeline.core.subscription import ReplayOffset
from tests.support.core import Core, resumed, subscription
from tests.support.virtual_time import in_virtual_time


async def opened(row: UnreadableRow, *, revision: int = 1) -> Core:
    """A worker with two subscriptions, of which one has a row that can't be read. 4 of 8 events are committed."""
    core = Core()
    for name in ("s", "other"):
        core.publish(subscription(name, revision=revision))
    for _ in range(4):
        core.produce(1, "s")
        core.produce(1, "other")
    core.committed = 4
    core.row_topic.unreadable[b"s"] = row
    return await core.open()


@in_virtual_time
@pytest.mark.parametrize(("place", "begins_at"), [(None, 4), (2, 2), (6, 6)])
async def test_a_lane_with_an_unreadable_row_stops_and_keeps_its_place(place: int | None, begins_at: int) -> None:
    core = await opened(UnreadableRow("it is not JSON", place))
    await core.dispatch(core.log.read(4, 4))

    lane = core.lane()
    assert (lane.state, lane.next) == (LaneState.FAILED, begins_at)
    assert lane.cause is not None
    assert lane.cause.kind == "cursor"
    assert lane.cause.message.startswith("its cursor row can't be read: it is not JSON; ")
    assert f"the lane waits at {begins_at}; a resume continues there" in lane.cause.message
    assert core.telemetry.subscription_failures["cursor"] == 1
    assert core.lane("other").state is LaneState.LIVE
    assert {core.log.records[offset].key for offset in core.pending} == {b"other"}
    await core.end()


@in_virtual_time
@pytest.mark.parametrize(
    ("place", "log", "begins_at"),
    [
        (10**15, LogBounds(0, 8), 8),
        (2, LogBounds(3, 8), 3),
        (6, LogBounds(0, 8, "new", former_id="old"), 0),
        (6, LogBounds(0, 8, "same", former_id="same"), 6),
    ],
)
async def test_the_offset_of_an_unreadable_row_is_checked_with_the_log(
    place: int, log: LogBounds, begins_at: int
) -> None:
    """If a lane were resumed beyond the end of the log, it would skip all new events."""
    core = Core()
    core.publish(subscription("s"))
    core.produce(8)
    core.committed = 8
    core.row_topic.unreadable[b"s"] = UnreadableRow("its status is not a string", place)
    await core.open(log)

    assert (core.lane().state, core.lane().next) == (LaneState.FAILED, begins_at)
    await core.land()
    await core.revise(resumed(core.registry.known["s"]))
    await core.stream()
    await core.land()
    await core.read()
    assert core.pending == [begins_at]
    await core.end()


@in_virtual_time
async def test_nothing_is_committed_until_a_readable_row_is_durable() -> None:
    core = await opened(UnreadableRow("it is not JSON"))
    await core.dispatch(core.log.read(4, 4))
    for offset in (5, 7):
        await core.answer(offset)
    assert core.committable == 4

    await core.land()
    assert core.committable == 8
    row = core.row_topic.rows[b"s"]
    assert (row.next, row.status) == (4, Status.FAILURE)
    assert not core.row_topic.unreadable
    await core.end()


@in_virtual_time
async def test_a_resume_continues_at_the_offset_of_the_unreadable_row() -> None:
    core = await opened(UnreadableRow("it is not JSON"))
    await core.dispatch(core.log.read(4, 4))
    await core.land()
    await core.revise(resumed(core.registry.known["s"]))
    await core.land()
    await core.read()
    assert 4 in core.pending
    await core.end()


@in_virtual_time
async def test_a_command_older_than_the_unreadable_row_is_not_applied() -> None:
    core = Core()
    core.publish(subscription("first"))
    core.publish(subscription("s", resume_from=ReplayOffset(0, 0)))
    core.produce(8, "s")
    core.committed = 4
    core.row_topic.unreadable[b"s"] = UnreadableRow("it is not JSON")
    await core.open()
    assert (core.lane().state, core.lane().next) == (LaneState.FAILED, 4)
    await core.end()


@in_virtual_time
async def test_an_unreadable_row_without_subscription_is_deleted() -> None:
    core = Core()
    core.row_topic.unreadable[b"\xff" * 2000] = UnreadableRow("it is not JSON")
    await core.open()
    await core.land()
    assert not core.row_topic.unreadable
    assert core.row_topic.history[-1] == (b"\xff" * 2000, None)
    assert not core.partition.lanes
    await core.end()


def test_a_readable_row_is_not_taken_for_an_unreadable_one() -> None:
    assert not isinstance(Cursor(next=1), UnreadableRow)
