"""A partition with too many unsettled events is paused, and continues when lanes that are too slow fall behind."""

import asyncio
from collections.abc import Sequence

from pipeline.core.model import Event, Status
from pipeline.core.partition import FAIR_STRETCHES, PATIENCE_SECONDS, PRESSURE_DELIVERIES, PRESSURE_EVENTS
from pipeline.core.ports import LaneLimits
from pipeline.core.queue_memory import EVENT_OVERHEAD_BYTES
from pipeline.core.subscription import Start
from tests.support.core import OK, Core, subscription
from tests.support.fakes import TOPIC
from tests.support.virtual_time import in_virtual_time, settle

ROOMY = LaneLimits(events=100_000, bytes=10**9, hold_seconds=60.0)
NAMES = [f"sub-{number}" for number in range(8)]


class Valve:
    """The flow control of Faust's consumer, as the dispatcher uses it."""

    def __init__(self) -> None:
        self.held: set[int] = set()

    def pause_source(self, _topic: str, number: int) -> None:
        self.held.add(number)

    def resume_source(self, _topic: str, number: int) -> None:
        self.held.discard(number)


async def flooded(count: int, names: Sequence[str] = NAMES) -> tuple[Core, Valve]:
    """A worker with *count* dispatched events, of all subscriptions in turn. No request is answered yet."""
    core = await Core(*map(subscription, NAMES), limits=ROOMY, slots=100).open()
    core.dispatcher.flow = valve = Valve()
    await core.dispatch([core.log.append(names[number % len(names)].encode()) for number in range(count)])
    return core, valve


async def answer_all(core: Core, but: str = "") -> None:
    """Answer all requests, except those of one subscription."""
    while pending := [each for each in core.send.pending if each.subscription.id != but]:
        for attempt in pending:
            await core.answer(attempt.offset)


@in_virtual_time
async def test_a_full_partition_is_paused_until_half_is_settled() -> None:
    core, valve = await flooded(PRESSURE_EVENTS + 1)
    assert valve.held == {0}
    while len(core.partition.window) * 2 > PRESSURE_EVENTS:
        assert valve.held == {0}
        await core.answer(core.pending[0])
    assert valve.held == set()
    await core.end()


@in_virtual_time
async def test_below_the_limit_no_partition_is_paused() -> None:
    core, valve = await flooded(PRESSURE_EVENTS)
    assert valve.held == set()
    await core.end()


@in_virtual_time
async def test_lanes_that_keep_pace_stay_live_with_long_queues() -> None:
    core, valve = await flooded(PRESSURE_EVENTS + 1)
    await asyncio.sleep(3 * PATIENCE_SECONDS)
    core.dispatcher.relieve_pressed()
    assert valve.held == {0}
    assert {lane.state.feed for lane in core.partition.lanes.values()} == {"live"}
    assert core.rows.pending == []
    await core.end()


@in_virtual_time
async def test_only_the_lane_of_a_hanging_receiver_falls_behind() -> None:
    # More than half of the events in the window are for a hanging receiver. If its lane stayed live, the partition
    # would stay paused.
    core, valve = await flooded(PRESSURE_EVENTS + 1, [*NAMES, *["sub-0"] * len(NAMES)])
    await answer_all(core, but="sub-0")
    assert valve.held == {0}

    core.dispatcher.relieve_pressed()
    assert core.lane("sub-0").state.feed == "live", "the lane does not fall behind too early"
    await asyncio.sleep(PATIENCE_SECONDS + 0.1)
    core.dispatcher.relieve_pressed()
    assert core.lane("sub-0").state.feed == "behind"
    assert {core.lane(name).state.feed for name in NAMES[1:]} == {"live"}
    assert valve.held == {0}, "the partition is paused until the row is durable"
    await core.land()
    assert len(core.partition.window) == 0
    assert valve.held == set()
    await core.end()


@in_virtual_time
async def test_without_pressure_a_lane_may_use_its_full_hold_time() -> None:
    core, _ = await flooded(100)
    await answer_all(core, but="sub-0")
    await asyncio.sleep(ROOMY.hold_seconds - 1)
    core.dispatcher.relieve_pressed()
    await core.checkpoint()
    assert core.lane("sub-0").state.feed == "live"
    await asyncio.sleep(2)
    await core.checkpoint()
    assert core.lane("sub-0").state.feed == "behind"
    await core.end()


WORKER_BYTES = 10_000


def queued(core: Core) -> int:
    return sum(lane.events.queue.bytes for lane in core.partition.lanes.values())


async def lagging(*, but: str = "") -> Core:
    """Lanes that are behind with far more events than the worker may hold. All receivers hang, except that of *but*."""
    core = await Core(*map(subscription, NAMES), limits=ROOMY, slots=100, worker_bytes=WORKER_BYTES).open()
    await core.dispatch([core.log.append(name.encode()) for _ in range(50) for name in NAMES])
    for lane in list(core.partition.lanes.values()):
        lane.go_behind()
    await core.land()
    for _ in range(50):
        await core.read(400)
        await answer_some(core, but)
    return core


async def answer_some(core: Core, name: str) -> None:
    for attempt in [each for each in core.send.pending if each.subscription.id == name]:
        await core.answer(attempt.offset)


@in_virtual_time
async def test_lanes_that_are_behind_stay_within_the_memory_limit() -> None:
    core = await lagging()
    assert queued(core) == core.dispatcher.memory.used
    assert queued(core) <= WORKER_BYTES + len(NAMES) * EVENT_OVERHEAD_BYTES
    await core.end()


@in_virtual_time
async def test_a_full_worker_still_serves_lanes_that_answer() -> None:
    core = await lagging(but="sub-5")
    assert core.dispatcher.memory.is_full
    assert len([attempt for attempt in core.send.made if attempt.subscription.id == "sub-5"]) == 50
    await core.end()


@in_virtual_time
async def test_a_long_replay_does_not_starve_other_lanes_of_the_log() -> None:
    core = await Core(*map(subscription, NAMES), limits=ROOMY).open()
    await core.dispatch([core.log.append(b"sub-0") for _ in range(10_000)] + [core.log.append(b"sub-1")])
    for lane in list(core.partition.lanes.values()):
        lane.stop(Status.PAUSED)
    await core.land()
    core.lane("sub-0").resume()
    await core.read(10)
    core.lane("sub-1").resume()
    for _ in range(FAIR_STRETCHES):
        await core.read(10)
    assert [attempt.subscription.id for attempt in core.send.made] == ["sub-0", "sub-1"]
    await core.end()


# ------------------------------------------------------------------- one event, many deliveries


async def flooded_by_match(count: int, lanes: int = 100, slots: int = 1_000) -> tuple[Core, Valve]:
    """A worker as `flooded` makes it, with events that match every subscription."""
    core = Core(matches=True, limits=ROOMY, slots=slots)
    for number in range(lanes):
        core.publish(subscription(f"sub-{number}", starts={TOPIC: Start((0,))}, created=number))
    await core.open()
    core.dispatcher.flow = valve = Valve()
    await core.dispatch(core.produce(count))
    return core, valve


@in_virtual_time
async def test_the_limit_counts_deliveries_and_not_events() -> None:
    core, valve = await flooded_by_match(100)
    assert PRESSURE_DELIVERIES < core.partition.window.load <= PRESSURE_DELIVERIES + 100
    assert valve.held == {0}
    core.dispatcher.dispatch(0, core.produce(20))
    core.dispatcher.dispatch(0, core.log.records[-30:])
    assert core.partition.window.load <= PRESSURE_DELIVERIES + 100
    seen: dict[str, list[int]] = {}
    while core.send.pending:
        for attempt in list(core.send.pending):
            seen.setdefault(attempt.subscription.id, []).append(attempt.offset)
            attempt.answer(OK)
        assert core.partition.window.load <= PRESSURE_DELIVERIES + 100
        await settle()
    assert len(seen) == 100
    assert all(offsets == list(range(120)) for offsets in seen.values())
    assert (core.committable, valve.held) == (120, set())
    await core.end()


@in_virtual_time
async def test_events_not_yet_dispatched_stay_uncommitted_after_a_stop() -> None:
    core, _ = await flooded_by_match(100)
    dispatched = core.partition.dispatched_to
    assert dispatched < 100
    stopping = asyncio.create_task(core.stop())
    await settle()
    for _ in range(3):
        for attempt in list(core.send.pending):
            attempt.answer(OK)
        await settle()
    core.rows.land()
    await stopping
    assert core.committed <= dispatched


@in_virtual_time
async def test_a_lane_that_waits_for_a_slot_is_not_lagging_behind() -> None:
    core = Core(matches=True, limits=ROOMY, slots=2)
    for number in range(100):
        wanted = _the_first if number < 40 else None  # the lanes of these subscriptions soon have nothing to do
        core.publish(subscription(f"sub-{number}", starts={TOPIC: Start((0,))}, created=number, filter=wanted))
    await core.open()
    core.dispatcher.flow = valve = Valve()
    await core.dispatch(core.produce(100))
    hung = core.send.pending[0]
    for _ in range(120):
        [quick] = [attempt for attempt in core.send.pending if attempt is not hung]
        quick.answer(OK)
        await settle()
    await asyncio.sleep(2 * PATIENCE_SECONDS)
    core.send.pending[-1].answer(OK)
    await settle()
    assert valve.held == {0}
    core.dispatcher.relieve_pressed()
    behind = {lane.name for lane in core.partition.lanes.values() if lane.state.feed == "behind"}
    attempted = {attempt.subscription.id for attempt in core.send.pending}
    assert hung.subscription.id in behind
    assert behind <= attempted
    await core.end()


def _the_first(event: Event) -> bool:
    return event.offset == 0
