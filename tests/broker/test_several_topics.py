"""Several source topics: all promises hold in each topic, and the definition may gain topics."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.model import Status
from pipeline.subscriptions.edits import RESUME
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Call, Recorder, accept, answer, recording
from tests.support.waiting import eventually

EVENTS = 1500
"""The number of events in each topic."""

pytestmark = pytest.mark.timeout(600)


def load(what: str, first: int = 0, count: int = EVENTS) -> list[tuple[str, bytes]]:
    """Numbered events of twelve customers, in turn."""
    return [
        (f"customer-{number % 12}", json.dumps({"number": number, "of": what}).encode())
        for number in range(first, first + count)
    ]


def seen(calls: list[Call]) -> dict[str, set[int]]:
    """The numbers of the events that arrived, by kind of event."""
    found: dict[str, set[int]] = defaultdict(set)
    for call in calls:
        event = json.loads(call.body)
        found[event["of"]].add(event["number"])
    return found


ALL = set(range(EVENTS))


@asynccontextmanager
async def shop(kafka: TestBroker, app: str, folder: Path, **more: Any) -> AsyncIterator[tuple[Cluster, Recorder, str]]:
    """Orders on four partitions, payments on two."""
    payments = f"{app}-payments"
    async with (
        recording() as recorder,
        cluster(kafka, app, folder, partitions=4, routing="match", others={payments: 2}, **more) as found,
    ):
        yield found, recorder, payments


async def test_kill_9_and_clean_stops_lose_nothing_of_two_topics(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with shop(kafka, unique_name("two-topics"), tmp_path) as (found, recorder, payments):
        await found.subscribe(recorder, "everything")
        await found.subscribe(recorder, "paid", topics=[payments])
        await found.subscribe(recorder, "customer-5", endpoint={"filter": {"exact": {"key": "customer-5"}}})
        for _ in range(3):
            await found.start_worker()
        await found.until_ready()
        owners = [set(await worker.partitions()) for worker in found.workers]
        assert sum(map(len, owners)) == 4, "the owner of a partition number owns it in both topics"

        producing = [
            asyncio.create_task(found.produce(load("orders"))),
            asyncio.create_task(found.produce(load("payments"), topic=payments)),
        ]
        await recorder.until_events(EVENTS // 2)
        await found.workers[0].kill()
        await recorder.until_events(EVENTS)
        assert await found.workers[1].terminate() == 0
        await found.start_worker()
        await asyncio.gather(*producing)

        fives = {number for number in ALL if number % 12 == 5}
        await recorder.until_events(3 * EVENTS + 2 * len(fives), within_seconds=120)
        assert seen(recorder.of("everything")) == {"orders": ALL, "payments": ALL}
        assert seen(recorder.of("paid")) == {"payments": ALL}
        assert seen(recorder.of("customer-5")) == {"orders": fives, "payments": fives}
        assert not recorder.out_of_order()
        await until_committed(kafka, found, (found.topic, payments))


async def test_with_key_a_subscription_gets_its_events_of_both_topics(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    app = unique_name("two-keyed-topics")
    payments = f"{app}-payments"
    customers = [f"customer-{number}" for number in range(12)]
    of_each = {name: set(range(number, EVENTS, 12)) for number, name in enumerate(customers)}
    async with (
        recording() as recorder,
        cluster(kafka, app, tmp_path, partitions=4, routing="key", others={payments: 2}, dlq=True) as found,
    ):
        await found.subscribe(recorder, *customers)
        for _ in range(2):
            await found.start_worker()
        await found.until_ready()
        producing = [
            asyncio.create_task(found.produce([*load("orders"), ("nobody", b"{}")])),
            asyncio.create_task(found.produce([*load("payments"), ("nobody", b"{}")], topic=payments)),
        ]
        await recorder.until_events(EVENTS // 2)
        await found.workers[0].kill()
        await recorder.until_events(2 * EVENTS, within_seconds=120)
        await asyncio.gather(*producing)

        for name, numbers in of_each.items():
            assert seen(recorder.of(name)) == {"orders": numbers, "payments": numbers}
        assert not recorder.out_of_order()
        await until_committed(kafka, found, (found.topic, payments))
        letters = [dict(each.headers) for each in await kafka.read(f"{app}-dlq")]
        assert {each["dlq.topic"].decode() for each in letters} == {found.topic, payments}
        webhooks = Webhooks(found.environment)
        checked = await webhooks.run("check")
        for topic in (found.topic, payments):
            assert f"ok  topic {topic}: 99 of the newest 100 events are for a subscription" in checked.out
        refused = await webhooks.run("send", customers[0], "{}")
        assert f"--topic: is required, because there are several: {found.topic}, {payments}" in refused.err
        sent = await webhooks.run(
            "send", customers[0], json.dumps({"number": EVENTS, "of": "sent"}), "--topic", payments
        )
        await recorder.until(lambda: seen(recorder.of(customers[0]))["sent"] == {EVENTS})
        assert recorder.of(customers[0])[-1].webhook_id == sent.out.strip()


async def until_committed(kafka: TestBroker, found: Cluster, topics: tuple[str, ...]) -> None:
    """Return when everything in each topic is committed."""
    state: dict[str, object] = {}
    ends = {topic: {record.partition: record.offset + 1 for record in await kafka.read(topic)} for topic in topics}

    async def is_committed() -> bool:
        for topic in topics:
            committed = await kafka.committed(found.app, topic)
            state[topic] = {number: committed.get(number) for number in ends[topic]}
        return state == ends

    await eventually(is_committed, within_seconds=60, says=lambda: f"{state} of {ends}")


async def test_a_definition_gains_a_second_and_a_third_topic(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    """State that was written with one topic is kept, and no event of a new topic is delivered too early."""
    app = unique_name("more-topics")
    payments, refunds = f"{app}-payments", f"{app}-refunds"
    for topic, count in ((payments, 6), (refunds, 1)):
        await kafka.create_topic(topic, count)
        await found_before(kafka, topic)
    async with recording() as recorder, cluster(kafka, app, tmp_path, partitions=2, routing="match") as found:
        await found.subscribe(recorder, "good", "bad")
        worker = await found.start_worker()
        await found.until_ready()
        recorder.behaviours["bad"] = answer(400)
        await found.produce(load("orders", count=100))
        await recorder.until(lambda: seen(recorder.of("good")) == {"orders": set(range(100))})
        await found.until_row("bad", status=Status.FAILURE)
        await recorder.until(lambda: {call.webhook_id.split("-")[-2] for call in recorder.of("bad")} == {"0", "1"})
        assert await worker.terminate() == 0
        failed_at = {number: row.next for (number, name), row in (await found.rows()).items() if name == "bad"}
        found.workers.clear()

        found.redefine({payments: 6}, "latest")
        worker = await found.start_worker()
        await found.until_ready()
        lanes = {
            (lane["topic"], lane["partition"]): lane for lane in await worker.lanes() if lane["subscription"] == "bad"
        }
        assert {number: lanes[found.topic, number]["next"] for number in failed_at} == failed_at
        await found.produce(load("payments", count=100), topic=payments)
        await recorder.until(lambda: seen(recorder.of("good")).get("payments") == set(range(100)))

        webhooks = Webhooks(found.environment)
        [number, *_] = failed_at
        refused = await webhooks.run("subscriptions", "skip", "bad", str(number), str(failed_at[number]))
        assert refused.code == 1
        assert f"--topic: is required, because there are several: {found.topic}, {payments}" in refused.err
        recorder.behaviours["bad"] = accept
        await found.store.edit("bad", RESUME)
        await recorder.until(
            lambda: seen(recorder.of("bad")) == {"orders": set(range(100)), "payments": set(range(100))}
        )

        found.redefine({payments: 6, refunds: 1}, "latest")
        new = await found.start_worker()
        async with asyncio.timeout(60):
            assert await new.process.wait() != 0
        assert "can't be committed while workers of" in new.output()
        found.workers.remove(new)
        assert await worker.terminate() == 0
        found.workers.clear()
        await found.start_worker()
        await found.until_ready()
        await found.produce(load("refunds", count=20), topic=refunds)
        both = [set(range(20))] * 2
        await recorder.until(lambda: [seen(recorder.of(name)).get("refunds") for name in ("good", "bad")] == both)
        assert "early" not in seen(recorder.calls), "no event from before the topic became a source"
        assert not recorder.out_of_order()
        assert not {key: times for key, times in recorder.repeated().items() if times > 2}
        await until_committed(kafka, found, (found.topic, payments, refunds))


async def found_before(kafka: TestBroker, topic: str) -> None:
    """Produce events before the topic becomes a source."""
    await kafka.produce(topic, *((b"early", json.dumps({"number": 10_000, "of": "early"}).encode()) for _ in range(5)))
