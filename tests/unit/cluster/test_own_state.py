"""The parts of a worker's announcement that describe its lanes."""

import asyncio

import pytest

from pipeline.cluster import own_state
from pipeline.cluster.own_state import OwnState
from pipeline.core.outcome import Delivered, Rejected, ServerError
from tests.support.core import Core, reporter_of, subscription
from tests.support.fakes import VirtualClock
from tests.support.virtual_time import in_virtual_time


def own_state_of(core: Core, clock: VirtualClock | None = None) -> OwnState:
    clock = clock or VirtualClock()
    return OwnState("1", reporter_of(core), core.sources, core.telemetry, clock=clock, counts=dict)


@in_virtual_time
async def test_retrying_lanes_are_announced_first_and_then_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_state, "MOST_LANES", 3)
    core = await Core(*map(subscription, "abcd")).open()
    await core.stream(1, "b")
    await core.stream(2, "c")
    await core.stream(1, "d")
    await core.stream(2, "a")
    await core.answer(4, ServerError(503))

    announced = own_state_of(core).announcement()

    assert [(lane.subscription, lane.partition, lane.waiting, lane.attempts) for lane in announced.lanes] == [
        ("a", 0, 2, 1),
        ("b", 0, 1, 0),
        ("c", 0, 2, 0),
    ]
    assert (announced.queued, announced.lanes_left_out) == (6, 1)
    await core.end()


@in_virtual_time
async def test_the_announced_rate_ignores_jumps_of_the_system_clock() -> None:
    core, clock = await Core(subscription("a")).open(), VirtualClock()
    own = own_state_of(core, clock)
    own.announcement()
    await core.stream(1, "a")
    await core.answer(0, Delivered(200))
    await asyncio.sleep(2.0)
    clock.ahead = -3600.0
    assert own.announcement().delivered_per_second == 0.5
    await core.end()


@in_virtual_time
async def test_dead_letters_are_announced_until_a_delivery() -> None:
    core = await Core(subscription("a"), subscription("b"), dead_letters=True).open()
    core.letters.at_once = True
    own = own_state_of(core)
    for offset in range(3):
        await core.stream(1, "a")
        await core.answer(offset, Rejected(401))
    await core.stream(1, "b")
    await core.answer(3, Delivered(200))
    [(name, run)] = own.announcement().dead_letter_runs.items()
    assert (name, run.count, run.message) == ("a", 3, "the callback answered 401")
    await core.stream(1, "a")
    await core.answer(4, Delivered(200))
    assert own.announcement().dead_letter_runs == {}
    await core.end()


@in_virtual_time
async def test_dead_letters_in_a_lost_partition_are_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_state, "MOST_DEAD_LETTER_RUNS", 1)
    core = await Core(subscription("a"), subscription("b"), dead_letters=True).open()
    core.letters.at_once = True
    own = own_state_of(core)
    for offset, name in enumerate("ab"):
        await core.stream(1, name)
        await core.answer(offset, Rejected(401))
    assert [*own.announcement().dead_letter_runs] == ["b"], "only the newest run fits"
    await core.end()
    assert own.announcement().dead_letter_runs == {}
