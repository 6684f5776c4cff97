"""The number of waiting events in rows, and the offset up to which the events are counted."""

import asyncio

from pipeline.core.lane_rows import COUNT_SECONDS, COUNTED_ROWS
from pipeline.core.lane_state import LaneState
from pipeline.core.model import Standing
from pipeline.core.outcome import Rejected, ServerError
from pipeline.core.subscription import Qos
from tests.support.core import Core, paused, subscription
from tests.support.virtual_time import in_virtual_time, settle


async def a_second(core: Core) -> None:
    """Run one round of checkpoints, and make the rows that it writes durable."""
    await asyncio.sleep(COUNT_SECONDS)
    core.partition.checkpoint()
    await settle()
    await core.land()


@in_virtual_time
async def test_the_row_of_a_halted_lane_counts_new_events() -> None:
    core = await Core(subscription("s"), subscription("other")).open()
    await core.stream(1)
    await core.answer(0, Rejected(400))
    await core.land()
    first = core.row_topic.rows[b"s"].standing
    assert first == Standing(is_live=False, waiting_at_most=1, waiting_is_exact=True, dispatched=1)

    await core.dispatch([*core.produce(3, "s"), *core.produce(2, "other")])
    await a_second(core)
    assert core.row_topic.rows[b"s"].standing == Standing(
        is_live=False, waiting_at_most=4, waiting_is_exact=True, dispatched=6
    )
    assert core.partition.rows.counted_to == 6

    # Events of other subscriptions do not make the row out of date. The count in the row is complete up to here.
    written = len(core.row_topic.history)
    await core.dispatch(core.produce(1, "other"))
    await a_second(core)
    assert core.partition.rows.counted_to == 7
    assert len(core.row_topic.history) == written
    await core.end()


@in_virtual_time
async def test_a_lane_that_fails_after_it_was_behind_is_counted() -> None:
    """A receiver that hangs makes its lane fall behind first, catch up, and then fail."""
    core = await Core(subscription("s"), subscription("other")).open()
    await core.dispatch([*core.produce(1, "s"), *core.produce(3, "other"), *core.produce(1, "s")])
    core.lane("s").go_behind()
    await core.land()
    await core.read()
    assert core.lane("s").state is LaneState.LIVE
    await core.answer(0, Rejected(400))
    await core.land()
    found = core.row_topic.rows[b"s"].standing
    assert found == Standing(is_live=False, waiting_at_most=2, waiting_is_exact=True, dispatched=5)
    await core.end()


@in_virtual_time
async def test_a_count_is_announced_when_its_row_is_durable() -> None:
    core = await Core(subscription("s")).open()
    await core.revise(paused(subscription("s")))
    await core.land()
    await a_second(core)
    before = core.partition.rows.counted_to
    await core.stream(2)
    await asyncio.sleep(COUNT_SECONDS)
    core.partition.checkpoint()
    await settle()
    assert core.partition.rows.counted_to == before

    await core.land()
    assert core.partition.rows.counted_to == 2
    await core.end()


@in_virtual_time
async def test_a_limited_number_of_counts_is_renewed_each_second() -> None:
    names = [f"s{number:03}" for number in range(COUNTED_ROWS + 10)]
    core = await Core(*map(subscription, names)).open()
    for name in names:
        await core.revise(paused(subscription(name)))
    await core.dispatch([event for name in names for event in core.produce(1, name)])
    await a_second(core)
    await a_second(core)
    written = len(core.row_topic.history)
    await core.dispatch([event for name in names for event in core.produce(1, name)])
    await a_second(core)
    assert len(core.row_topic.history) == written + COUNTED_ROWS
    assert core.partition.rows.counted_to == len(names) + COUNTED_ROWS, (
        "the counts are complete up to the first event that no row counts"
    )

    await a_second(core)
    assert len(core.row_topic.history) == written + len(names)
    assert core.partition.rows.counted_to == 2 * len(names)
    await core.end()


@in_virtual_time
async def test_a_row_has_the_time_of_the_lane_s_first_event() -> None:
    core = await Core(subscription("s", Qos.AUTO)).open()
    await core.stream(1)
    await core.answer(0)
    events = core.produce(2)
    await core.dispatch(events)
    await core.revise(paused(subscription("s", Qos.AUTO)))
    await core.answer(1, ServerError(500))
    await core.answer(2, ServerError(500))
    await asyncio.sleep(60.0)
    core.partition.checkpoint()
    await core.land()
    assert core.row_topic.rows[b"s"].next == 1
    assert core.row_topic.rows[b"s"].event_ms == events[0].timestamp
    await core.end()


@in_virtual_time
async def test_the_time_of_the_last_delivery_survives_a_restart() -> None:
    core = await Core(subscription("s")).open()
    await core.stream(2)
    await core.answer(0)
    delivered_at = core.lane().events.progress.last_success_at
    assert delivered_at is not None
    await core.answer(1, Rejected(400))
    await core.land()
    standing = core.row_topic.rows[b"s"].standing
    assert standing is not None
    assert standing.last_success_at == delivered_at
    await core.end()

    after = await Core(before=core).open()
    assert after.lane().events.progress.last_success_at == delivered_at
    await after.end()
