"""The load of the fault runs survives faults of its brokers."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.faults.load import Load, too_little
from tests.support.brokers import TestBroker
from tests.support.waiting import eventually

SUBSCRIPTIONS = ["a", "b", "c"]
PER_SECOND = 50.0


@pytest.fixture
async def topic(embedded: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await embedded.create_topic(unique_name("events"), 2)


@asynccontextmanager
async def running(load: Load) -> AsyncIterator[None]:
    """Run the load during the block. At the end, stop the load, and wait until it has come to rest."""
    task = asyncio.create_task(load.run())
    try:
        yield
    finally:
        load.stop()
        await task


async def until(condition: Callable[[], bool], load: Load) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, within_seconds=30, says=lambda: f"{load}")


async def until_more_are_sent(load: Load) -> None:
    before = load.sent
    await until(lambda: load.sent > before, load)


async def until_more_are_due(load: Load, count: float) -> None:
    before = load.due
    await until(lambda: load.due > before + count, load)


def down(broker: TestBroker) -> None:
    assert broker.mock is not None
    broker.mock.down()


def up(broker: TestBroker) -> None:
    assert broker.mock is not None
    broker.mock.up()


async def test_an_outage_neither_repeats_nor_reorders_the_load(embedded: TestBroker, topic: str) -> None:
    load = Load(embedded, [topic], SUBSCRIPTIONS, PER_SECOND)
    async with running(load):
        for _ in range(2):
            await until_more_are_sent(load)
            down(embedded)
            await until_more_are_due(load, 3 * PER_SECOND)
            up(embedded)
        await until_more_are_sent(load)
    records = await embedded.read(topic)
    assert (load.sent, load.unsure) == (len(records), 0)
    assert load.acknowledged == {f"{topic}-{record.partition}-{record.offset}" for record in records}
    assert load.share > 0.99
    sequences = defaultdict(list)
    for record in records:
        said = json.loads(record.value)
        sequences[said["subscription"]].append(said["sequence"])
    assert all(found == list(range(len(found))) for found in sequences.values())


async def test_events_that_do_not_fit_into_the_queue_are_not_produced(embedded: TestBroker, topic: str) -> None:
    load = Load(embedded, [topic], SUBSCRIPTIONS, PER_SECOND, buffered_events=10, acknowledged_seconds=0.2)
    down(embedded)
    async with running(load):
        await until_more_are_due(load, 50)
    assert (load.sent, load.unsure) == (0, 10)
    assert load.share == 0.0
    assert too_little(load.sent, load.due)
