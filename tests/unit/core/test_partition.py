"""Partitions with real lanes: rows, the removal of idle lanes, and how a partition is given back."""

import asyncio
from dataclasses import replace

from pipeline.core.outcome import Rejected
from pipeline.core.subscription import Qos, ReplayTimestamp
from tests.support.core import Core, paused, resumed, subscription
from tests.support.virtual_time import in_virtual_time, settle


@in_virtual_time
async def test_a_lane_is_not_forgotten_during_a_command() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0)
    core.commit()
    lane = core.lane()
    await core.revise(replace(spec, resume_from=ReplayTimestamp(0)))
    core.partition.sweep()
    await asyncio.sleep(1.0)

    assert core.lane() is lane
    assert (lane.state.feed, lane.next) == ("behind", 0)
    await core.end()


@in_virtual_time
async def test_an_idle_lane_without_row_is_forgotten_once_committed() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    await core.answer(0)
    core.partition.sweep()
    assert core.lane().is_idle

    core.commit()
    core.partition.sweep()
    assert core.partition.lanes == {}
    await core.end()


@in_virtual_time
async def test_a_stop_writes_rows_for_events_that_the_commit_passes() -> None:
    core = await Core(subscription(), subscription("n", qos=Qos.NONE, concurrency=1)).open()
    await core.dispatch([*core.produce(1), *core.produce(2, "n")])
    stopping = asyncio.create_task(core.dispatcher.drain([0], 8.0))
    await settle()
    await core.answer(0, Rejected(400))  # the row of this failure lets the committed offset pass the other events
    await core.answer(1)
    await core.land()

    assert await stopping == {0: 3}
    assert core.row_topic.rows[b"n"].next == 2
    await core.end()


@in_virtual_time
async def test_a_clean_stop_at_qos_none_loses_no_queued_event() -> None:
    core = await Core(subscription(qos=Qos.NONE, concurrency=1)).open()
    await core.stream(3)
    stopping = asyncio.create_task(core.stop())
    await settle()
    await core.answer(0)
    await core.land()
    await stopping
    assert core.committed == 3

    successor = await Core(before=core).open()
    await successor.read()
    await successor.answer(1)
    await successor.answer(2)
    assert core.send.offsets() + successor.send.offsets() == [0, 1, 2]
    await successor.end()


@in_virtual_time
async def test_a_lane_that_falls_behind_during_a_read_gets_nothing_yet() -> None:
    core = await Core(subscription("a"), subscription("b")).open()
    for name in ("a", "b"):
        await core.revise(paused(subscription(name)))
    await core.dispatch([*core.produce(1, "a"), *core.produce(1, "b"), *core.produce(1, "a"), *core.produce(1, "b")])
    await core.land()
    await core.revise(resumed(subscription("a")))
    stretch = core.reader.fetch(core.partition, 100)
    assert stretch is not None
    assert [event.offset for event in stretch.events] == [0, 2], "no other lane wants events yet"

    await core.revise(resumed(subscription("b")))
    stretch.feed()
    await settle()
    assert core.pending == [0]
    assert core.lane("b").read_from <= 1, "the stretch does not contain the events of this lane"

    await core.read()
    assert core.pending == [0, 1]
    await core.answer(1)
    assert core.pending == [0, 3]
    await core.end()


@in_virtual_time
async def test_a_lane_reads_nothing_until_its_row_is_durable() -> None:
    core = await Core(subscription("s")).open()
    await core.stream(1)
    await core.answer(0)
    await core.revise(paused(subscription("s")))
    await core.revise(resumed(subscription("s")))
    assert core.lane().state.feed == "behind"
    assert core.partition.wanted() is None

    await core.stream(1)
    await core.land()
    await core.read()
    await core.land()
    assert core.lane().state.feed == "live"
    assert core.pending == [1]
    await core.end()
