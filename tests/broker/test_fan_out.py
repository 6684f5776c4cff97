"""With `routing: match`, an event reaches every subscription that it is for, even across crashes and stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Call, Recorder, hang, recording
from tests.support.waiting import eventually

KINDS = ("paid", "sent", "returned")
CUSTOMERS = [f"customer-{number}" for number in range(12)]
EVENTS = 3000

WANTED: dict[str, Callable[[int], bool]] = {
    "everything": lambda _: True,
    "paid": lambda number: number % 3 == 0,
    "sent-or-returned": lambda number: number % 3 != 0,
    "customer-5": lambda number: number % 12 == 5,
}
"""Whether a subscription gets the event with a given number."""

FILTERS: dict[str, dict[str, Any] | None] = {
    "everything": None,
    "paid": {"exact": {"/kind": "paid"}},
    "sent-or-returned": {"exact": {"/kind": ["sent", "returned"]}},
    "customer-5": {"exact": {"key": "customer-5"}},
}

pytestmark = pytest.mark.timeout(180)


def load(first: int = 0, count: int = EVENTS) -> list[tuple[str, bytes]]:
    """Events of all customers in turn."""
    return [
        (CUSTOMERS[number % 12], json.dumps({"number": number, "kind": KINDS[number % 3]}).encode())
        for number in range(first, first + count)
    ]


def numbers(calls: list[Call]) -> list[int]:
    """The numbers of the events in these calls."""
    return [int(json.loads(call.body)["number"]) for call in calls]


@asynccontextmanager
async def matching(
    kafka: TestBroker, name: str, folder: Path, *, workers: int = 2, qos: str = "at-least-once"
) -> AsyncIterator[tuple[Cluster, Recorder]]:
    """Workers, and the subscriptions of WANTED."""
    async with (
        recording() as recorder,
        cluster(kafka, name, folder, partitions=4, qos=qos, routing="match") as found,
    ):
        for each, wanted in FILTERS.items():
            await found.subscribe(recorder, each, endpoint={} if wanted is None else {"filter": wanted})
        for _ in range(workers):
            await found.start_worker()
        await found.until_ready()
        yield found, recorder


def owed_to(*names: str, count: int = EVENTS) -> dict[str, set[int]]:
    """The numbers of the events that each subscription has to get."""
    return {name: {number for number in range(count) if WANTED[name](number)} for name in names or WANTED}


async def until_all_have(recorder: Recorder, owed: dict[str, set[int]]) -> None:
    """Return when each subscription has got all of its events. It is an error if a subscription gets an event of
    another one."""
    await recorder.until_events(sum(map(len, owed.values())), within_seconds=90)
    for name, events in owed.items():
        assert set(numbers(recorder.of(name))) == events


async def test_a_matching_event_arrives_once_and_in_order(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("match"), tmp_path) as (found, recorder):
        await found.produce(load())
        await until_all_have(recorder, owed_to())
        assert not recorder.repeated()
        assert not recorder.out_of_order()


async def test_killing_a_worker_loses_no_event_of_any_subscription(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("match-kill"), tmp_path) as (found, recorder):
        producing = asyncio.create_task(found.produce(load()))
        await recorder.until_events(EVENTS // 4)
        await found.workers[0].kill()
        await producing
        await until_all_have(recorder, owed_to())
        assert not recorder.out_of_order()


async def test_a_clean_stop_repeats_no_event_of_any_subscription(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("match-stop"), tmp_path) as (found, recorder):
        producing = asyncio.create_task(found.produce(load()))
        await recorder.until_events(EVENTS // 4)
        assert await found.workers[0].terminate() == 0
        await producing
        await until_all_have(recorder, owed_to())
        assert not recorder.repeated()
        assert not recorder.out_of_order()


async def test_a_hanging_receiver_delays_no_other_receiver_or_commit(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("match-hang"), tmp_path, workers=1) as (found, recorder):
        recorder.behaviours["paid"] = hang
        await found.produce(load())
        others = owed_to("everything", "sent-or-returned", "customer-5")
        # In each partition, the lane that hangs has sent one event, which the hanging receiver has read.
        await recorder.until(
            lambda: sum(call.subscription != "paid" for call in recorder.calls) >= sum(map(len, others.values()))
        )
        for name, events in others.items():
            assert set(numbers(recorder.of(name))) == events
        state: dict[str, object] = {}
        ends = {record.partition: record.offset + 1 for record in await kafka.read(found.topic)}

        async def is_committed() -> bool:
            state["committed"] = await kafka.committed(found.app, found.topic)
            return state["committed"] == ends

        await eventually(is_committed, within_seconds=60, says=lambda: f"{state} of {ends}")
        del recorder.behaviours["paid"]
        await until_all_have(recorder, owed_to())


async def test_a_new_subscription_gets_only_later_events(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("match-new"), tmp_path) as (found, recorder):
        await found.produce(load(0, 500))
        await found.subscribe(recorder, "late")
        await found.subscribe(recorder, "all-of-it", startFrom="earliest")
        await found.produce(load(500, 500))
        later = {"late": set(range(500, 1000)), "all-of-it": set(range(1000))}
        await until_all_have(recorder, {**owed_to(count=1000), **later})
        await found.workers[0].kill()
        await found.produce(load(1000, 100))
        later = {"late": set(range(500, 1100)), "all-of-it": set(range(1100))}
        await until_all_have(recorder, {**owed_to(count=1100), **later})
