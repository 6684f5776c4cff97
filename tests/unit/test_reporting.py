"""What a worker says of its lanes, and that the event loop has its turns meanwhile."""

import asyncio

import pytest

from pipeline.report import EVERY_LANE, LaneFilter, LaneReport
from pipeline.reporting import LANES_AT_ONCE
from tests.core import Core, paused, reporter_of, subscription
from tests.virtual_time import in_virtual_time


def names(lanes: list[LaneReport]) -> list[str]:
    return [lane.subscription for lane in lanes]


@in_virtual_time
async def test_lanes_come_in_the_order_of_their_names() -> None:
    core = await Core().open()
    for name in ("b", "c", "a"):
        await core.wish(subscription(name))
        await core.stream(1, name)
    assert names(await reporter_of(core).lanes()) == ["a", "b", "c"]
    await core.end()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EVERY_LANE, ["a", "b"]),
        (LaneFilter(subscription="a"), ["a"]),
        (LaneFilter(subscription="other"), []),
        (LaneFilter(state="stopped"), ["b"]),
        (LaneFilter(status="paused"), ["b"]),
        (LaneFilter(status="started", state="stopped"), []),
        (LaneFilter(partition=0), ["a", "b"]),
        (LaneFilter(partition=1), []),
    ],
    ids=str,
)
@in_virtual_time
async def test_only_the_lanes_that_are_asked_for_are_told_of(wanted: LaneFilter, found: list[str]) -> None:
    core = await Core().open()
    for name in ("a", "b"):
        await core.wish(subscription(name))
        await core.stream(1, name)
    await core.wish(paused(subscription("b")))
    assert names(await reporter_of(core).lanes(wanted)) == found

    await core.end()


@in_virtual_time
async def test_whoever_looks_at_many_lanes_lets_others_have_their_turn() -> None:
    core = await Core().open()
    for number in range(3 * LANES_AT_ONCE):
        name = f"s-{number:03}"
        core.publish(subscription(name))
        core.hear()
        core.produce(1, name)
    core.dispatcher.dispatch(0, core.log.records)
    asked = asyncio.create_task(reporter_of(core).lanes(LaneFilter(subscription="s-000")))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    assert names(asked.result()) == ["s-000"]
    assert turns > 3, "one turn for every hundred lanes"
    await core.end()
