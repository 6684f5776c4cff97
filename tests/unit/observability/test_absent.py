"""Subscriptions without a lane: how a worker reports them, without blocking the event loop."""

import asyncio

import pytest

from pipeline.core.subscription import DesiredStatus
from pipeline.kafka.default_partition import default_partition
from pipeline.observability.absent import IDS_AT_ONCE
from pipeline.observability.status import LaneFilter
from pipeline.web.presence import presence
from tests.support.core import Core, reporter_of, subscription
from tests.support.virtual_time import in_virtual_time

HERE, THERE = "a", "f"
"""Two keys that Kafka's default partitioner puts into partitions 0 and 3 of 4."""


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [("21", -973932308), ("foobar", -790332482), ("a-little-bit-longer-string", -1486304829), ("abc", 479470107)],
)
def test_keys_map_to_partitions_as_in_kafka_s_own_clients(key: str, murmur2: int) -> None:
    """The hashes are from Kafka's UtilsTest. Kafka's partitioner makes them positive (Utils.toPositive)."""
    assert default_partition(key, 7) == (murmur2 & 0x7FFFFFFF) % 7


@in_virtual_time
async def test_no_default_partition_is_shown_if_topic_sizes_differ() -> None:
    core = await Core(subscription(HERE), subscription(THERE)).open()
    apart = [reporter_of(core, {"orders": 4, "payments": count}).absent_one(THERE) for count in (4, 2)]
    assert [(each.state, each.default_partition) for each in apart if each] == [("elsewhere", 3), ("idle", None)]


@in_virtual_time
async def test_a_subscription_is_shown_as_idle_once_its_lane_is_gone() -> None:
    core = await Core(subscription(HERE)).open()
    reporter = reporter_of(core)
    await core.stream(1, HERE)
    assert await reporter.absent() == []
    await core.answer(0)
    core.commit()
    core.partition.sweep()

    assert (await reporter.lanes(), await reporter.absent()) == ([], [HERE])
    report = reporter.absent_one(HERE)
    assert report is not None
    assert (report.state, report.status, report.default_partition) == ("idle", "started", 0)
    await core.end()


@in_virtual_time
async def test_a_subscription_of_another_worker_is_shown_as_elsewhere() -> None:
    core = await Core(subscription(HERE), subscription(THERE, desired_status=DesiredStatus.PAUSED)).open()
    reporter = reporter_of(core)

    assert await reporter.absent(LaneFilter(state="idle")) == [HERE]
    assert await reporter.absent(LaneFilter(state="elsewhere")) == [THERE]
    assert await reporter.absent(LaneFilter(status="paused")) == [THERE]
    assert await reporter.absent(LaneFilter(subscription=THERE)) == [THERE]
    assert await reporter.absent(LaneFilter(subscription="c")) == []
    assert await reporter.absent(LaneFilter(partition=0)) == [], "an absent subscription has no known partition"
    assert reporter.absent_one("c") is None
    assert reporter.worker().subscriptions == 2
    await core.end()


@in_virtual_time
async def test_with_match_no_subscription_has_the_state_elsewhere() -> None:
    core = await Core(subscription(HERE), subscription(THERE), matches=True).open()
    reporter = reporter_of(core)

    assert await reporter.absent(LaneFilter(state="idle")) == [HERE, THERE]
    assert await reporter.absent(LaneFilter(state="elsewhere")) == []
    report = reporter.absent_one(THERE)
    assert report is not None
    assert (report.state, report.default_partition) == ("idle", None)
    assert (await presence(reporter, THERE)).sentence == (
        "None of its events are waiting in the partitions of this worker (partition 0). "
        "Events in other partitions are delivered by other workers."
    )
    await core.stream(1, HERE)
    assert (await presence(reporter, THERE)).sentence == (
        "This worker delivers it in partition 0 of events. Events in other partitions are delivered by other workers."
    )
    await core.end()


@in_virtual_time
async def test_a_long_search_yields_to_other_tasks() -> None:
    names = [f"s-{number:05}" for number in range(20 * IDS_AT_ONCE)]
    core = await Core(*map(subscription, names)).open()
    asked = asyncio.create_task(reporter_of(core).absent(LaneFilter(state="idle", status="started")))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    assert 0 < len(asked.result()) < len(names)
    assert turns >= 20
    await core.end()
