"""Lanes in a real partition, over a real window, dispatcher and policy: one test per arrow and per trap."""

import asyncio

import pytest

from pipeline.lane import LaneLimits
from pipeline.model import Qos
from pipeline.outcome import Failed, ServerError
from tests.core import SLOW, Core, subscription
from tests.virtual_time import in_virtual_time

REFUSED = Failed("connection refused", may_have_arrived=False)
BROKEN = Failed("broken off", may_have_arrived=True)


@in_virtual_time
async def test_a_full_lane_at_qos_none_drops_the_newest_whether_events_or_bytes_fill_it() -> None:
    core = await Core(
        subscription(qos=Qos.NONE, concurrency=1), limits=LaneLimits(events=100, bytes=2_000, hold_seconds=5.0)
    ).open()

    await core.stream(8)

    assert core.lane().state == "live"
    assert core.telemetry.drops["lane-full"] == 4
    assert core.prefix == 8
    await core.end()


@pytest.mark.parametrize("qos", [Qos.AT_LEAST_ONCE, Qos.AUTO])
@in_virtual_time
async def test_a_wait_longer_than_the_hold_costs_a_row_and_no_held_offset(qos: Qos) -> None:
    core = await Core(subscription(qos=qos, retry=SLOW, concurrency=1)).open()
    await core.stream(3)
    await core.answer(0, ServerError(503))
    await core.land()

    lane = core.lane()
    assert (lane.state, lane.next, lane.windowed, len(lane.queue), lane.flights) == ("behind", 0, 0, 0, {})
    assert core.prefix == 3
    assert core.row_topic.rows[b"s"].attempt == 1
    assert core.pending == []
    await asyncio.sleep(20.1)
    await core.read()
    assert core.send.made[-1].number == 2
    await core.end()
