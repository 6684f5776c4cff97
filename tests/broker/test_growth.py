"""The source topic gains partitions: while workers run, while no worker runs, and while a worker is killed."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.core.clock import SystemClock
from pipeline.core.model import Status
from pipeline.kafka.admin import administration
from pipeline.kafka.expansion import PartitionExpansion, grow
from pipeline.kafka.topics import count_partitions, cursors_topic, tokens_topic
from pipeline.runtime.topics import ensure_topics
from pipeline.subscriptions.edits import PAUSE, RESUME
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Call, Recorder, recording
from tests.support.waiting import eventually
from tests.support.worker import Worker

SUBSCRIPTIONS = [f"sub-{number}" for number in range(20)]
BEFORE, AFTER = 2, 5
EVENTS = 2000

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def growing(
    kafka: TestBroker, name: str, folder: Path, *, qos: str = "at-least-once", latest: bool = False
) -> AsyncIterator[tuple[Cluster, Recorder]]:
    """A source topic that has few partitions. Workers are not started yet."""
    async with recording() as recorder, cluster(kafka, name, folder, partitions=BEFORE, qos=qos) as found:
        if latest:
            path = folder / "api.json"
            path.write_text(path.read_text().replace('"earliest"', '"latest"'))
        await found.subscribe(recorder, *SUBSCRIPTIONS)
        yield found, recorder


def load(count: int = EVENTS) -> list[tuple[str, bytes]]:
    """Events of all subscriptions in turn."""
    return [(SUBSCRIPTIONS[number % len(SUBSCRIPTIONS)], b"event %d" % number) for number in range(count)]


async def add_partitions(found: Cluster) -> None:
    """Add partitions like an operator."""
    await found.broker.add_partitions(found.topic, AFTER)
    found.partitions = AFTER


async def produce_to_new(found: Cluster, each: int) -> int:
    """Produce events to each new partition, even if no worker has found it yet. Returns the number of events."""
    counts = [await found.produce(load(each), partition=number) for number in range(BEFORE, AFTER)]
    return sum(counts)


def disordered(recorder: Recorder) -> list[tuple[str, str]]:
    """The (subscription, partition) pairs whose events did not first arrive in the order of the log."""
    firsts: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
    for call in recorder.calls:
        place, _, _ = call.webhook_id.rpartition("-")
        firsts[call.subscription, place].setdefault(call.offset)
    return [pair for pair, offsets in firsts.items() if list(offsets) != sorted(offsets)]


async def until_committed(found: Cluster) -> None:
    """Return when the group has committed the end of every partition."""
    ends = {record.partition: record.offset + 1 for record in await found.broker.read(found.topic)}
    state: dict[int, int] = {}

    async def is_committed() -> bool:
        state.clear()
        state.update(await found.broker.committed(found.app, found.topic))
        return state == ends

    await eventually(is_committed, within_seconds=60, says=lambda: f"{state} of {ends}")


def says_growth(worker: Worker, found: Cluster) -> int:
    """How often the log of a worker reports the new partitions."""
    return worker.output().count(f"topic {found.topic}: now has {AFTER} partitions, {BEFORE} before")


@pytest.mark.parametrize("qos", ["at-least-once", "at-most-once"])
async def test_expansion_under_load_loses_and_repeats_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, qos: str
) -> None:
    async with growing(kafka, unique_name("grow"), tmp_path, qos=qos) as (found, recorder):
        await found.start_worker()
        await found.start_worker()
        await found.until_ready()
        producing = asyncio.create_task(found.produce(load()))
        await recorder.until_events(EVENTS // 4)
        await add_partitions(found)
        total = EVENTS + await produce_to_new(found, 200)
        await found.until_ready()
        total += await found.produce(load())
        await recorder.until_events(total, within_seconds=90)
        await producing
        await until_committed(found)
        assert not recorder.repeated()
        assert not disordered(recorder)
        shares = [await worker.partitions() for worker in found.workers]
        assert sorted(map(len, shares)) == [2, 3]
        assert [says_growth(worker, found) for worker in found.workers] == [1, 1]
        for name in (cursors_topic(found.app), tokens_topic(found.app)):
            assert await count_partitions(kafka.connection, name) == AFTER


async def test_new_partitions_are_read_from_the_beginning_with_latest(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with growing(kafka, unique_name("latest"), tmp_path, latest=True) as (found, recorder):
        await found.produce(load(40))  # produced before the first start, so never delivered
        await found.start_worker()
        await found.until_ready()
        await add_partitions(found)
        total = await produce_to_new(found, 100)
        await recorder.until_events(total)
        total += await found.produce(load(100))
        await recorder.until_events(total)
        await until_committed(found)
        assert len(recorder.calls) == total


async def test_partitions_added_while_no_worker_runs_are_delivered(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    held = SUBSCRIPTIONS[0]
    async with growing(kafka, unique_name("idle"), tmp_path, latest=True) as (found, recorder):
        first = await found.start_worker()
        await found.until_ready()
        await found.store.edit(held, PAUSE)
        await found.produce(load(40), partition=0)
        await found.until_row(held, status=Status.PAUSED)
        await recorder.until_events(38)
        assert await first.terminate() == 0
        rows, committed = await found.rows(), await kafka.committed(found.app, found.topic)

        await add_partitions(found)
        total = 38 + await produce_to_new(found, 100) - 3 * 5
        second = await found.start_worker()
        await found.until_ready(second)
        await recorder.until_events(total)
        after = await kafka.committed(found.app, found.topic)
        assert {number: after[number] for number in committed} == committed
        assert (await found.rows()).items() >= rows.items()

        await found.store.edit(held, RESUME)
        await recorder.until_events(total + 2 + 3 * 5)
        assert not recorder.repeated()
        assert not disordered(recorder)


async def test_a_worker_killed_during_expansion_loses_no_event(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with growing(kafka, unique_name("kill"), tmp_path) as (found, recorder):
        first = await found.start_worker()
        await found.until_ready()
        second = await found.start_worker()
        await found.until_ready()
        producing = asyncio.create_task(found.produce(load()))
        await add_partitions(found)
        total = EVENTS + await produce_to_new(found, 100)
        await first.kill()
        await found.until_ready(second)
        total += await found.produce(load())
        await recorder.until_events(total, within_seconds=90)
        await producing
        await until_committed(found)
        assert not disordered(recorder)


async def test_a_worker_killed_after_expansion_loses_no_event(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    """The leader of the group is killed. The next leader makes the assignment from its own metadata of the topic."""
    async with growing(kafka, unique_name("leader"), tmp_path) as (found, recorder):
        first = await found.start_worker()
        await found.until_ready()
        second = await found.start_worker()
        await found.until_ready()
        await add_partitions(found)
        await found.until_ready()
        producing = asyncio.create_task(found.produce(load()))
        await recorder.until_events(EVENTS // 4)
        await first.kill()
        await found.until_ready(second)
        await producing
        await recorder.until_events(EVENTS, within_seconds=90)
        await until_committed(found)
        assert not disordered(recorder)


async def test_access_tokens_of_new_partitions_are_kept(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async def issue(_: Call) -> web.Response:
        return web.json_response({"access_token": "T1", "token_type": "Bearer", "expires_in": 3600})

    async with growing(kafka, unique_name("tokens"), tmp_path) as (found, recorder):
        recorder.behaviours[""] = issue  # requests for tokens have no subscription
        oauth2 = {"endpoint": recorder.url("token"), "clientId": "me", "clientSecret": "a-secret"}
        await found.subscribe(recorder, "guarded", endpoint={"auth": {"type": "oauth2", "oauth2": oauth2}})
        worker = await found.start_worker()
        await found.until_ready()
        await found.produce([("guarded", b"")], partition=0)
        await recorder.until(lambda: len(recorder.of("guarded")) == 1)
        await add_partitions(found)
        for number in range(BEFORE, AFTER):
            await found.produce([("guarded", b"")], partition=number)
        await recorder.until(lambda: len(recorder.of("guarded")) == 1 + AFTER - BEFORE)

        kept: set[int] = set()

        async def are_kept() -> bool:
            kept.update(record.partition for record in await kafka.read(tokens_topic(found.app)))
            return kept >= {0, *range(BEFORE, AFTER)}

        await eventually(
            are_kept, within_seconds=20, says=lambda: f"only partitions {kept} have tokens: {worker.output()[-3000:]}"
        )


# -- the parts -----------------------------------------------------------------------------------------------------


class QuickClock(SystemClock):
    """A clock that sleeps for at most a tenth of a second."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.1))


class Noting:
    """A group that records the topics that it is notified of."""

    def __init__(self) -> None:
        self.learned: asyncio.Queue[int] = asyncio.Queue()

    async def learn_partitions(self, counts: Mapping[str, int]) -> None:
        [count] = counts.values()
        await self.learned.put(count)

    def learn_topic_id(self, topic: str, topic_id: str | None) -> None:
        assert topic
        assert topic_id


@pytest.fixture
async def admin(kafka: TestBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    async with administration(kafka.connection) as found:
        yield found


async def test_workers_may_expand_the_same_topic_concurrently(
    kafka: TestBroker, unique_name: Callable[[str], str], admin: AIOKafkaAdminClient
) -> None:
    name = await kafka.create_topic(unique_name("raced"), 2)
    assert await asyncio.gather(*(grow(admin, {name: 5}) for _ in range(6))) == [[]] * 6
    assert await count_partitions(kafka.connection, name) == 5


async def test_a_topic_that_can_t_be_expanded_stops_the_expansion(
    kafka: TestBroker, unique_name: Callable[[str], str], admin: AIOKafkaAdminClient
) -> None:
    name = await kafka.create_topic(unique_name("after"), 2)
    [problem] = await grow(admin, {f"{name}-missing": 5, name: 5})
    assert problem.startswith(
        f"topic {name}-missing: must have 5 partitions, as many as its source, but they can't be added"
    )
    assert await count_partitions(kafka.connection, name) == 2


async def test_check_only_asks_whether_topics_can_be_expanded(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with cluster(kafka, unique_name("check"), tmp_path, partitions=2) as found:
        await add_partitions(found)
        assert await ensure_topics(found.definition, found.app, [tokens_topic(found.app)], create=False) == []
        assert await count_partitions(kafka.connection, cursors_topic(found.app)) == 2


async def test_the_group_is_notified_when_all_topics_are_expanded(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("watched")
    source, own = f"{name}-events", [f"{name}-rows", f"{name}-tokens"]
    for topic in (source, *own):
        await kafka.create_topic(topic, 2)
    group = Noting()
    watching = asyncio.create_task(PartitionExpansion(kafka.connection, [source], own, group, QuickClock()).watch())
    try:
        async with asyncio.timeout(20):
            assert await group.learned.get() == 2
            assert await group.learned.get() == 2, "the notification is repeated, in case the group missed it"
            await kafka.add_partitions(source, 3)
            while await group.learned.get() < 3:
                pass
        assert [await count_partitions(kafka.connection, topic) for topic in own] == [3, 3]
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_no_rebalance_begins_while_a_topic_can_t_be_expanded(
    kafka: TestBroker,
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = unique_name("refused")
    source, own = f"{name}-events", f"{name}-rows"
    await kafka.create_topic(source, 3)
    await kafka.create_topic(own, 2)
    looks: asyncio.Queue[None] = asyncio.Queue()

    async def refused(*_: object) -> list[str]:
        looks.put_nowait(None)
        return [f"topic {own}: can't be given them"]

    monkeypatch.setattr("pipeline.kafka.expansion.grow", refused)
    group = Noting()
    watching = asyncio.create_task(PartitionExpansion(kafka.connection, [source], [own], group, QuickClock()).watch())
    try:
        async with asyncio.timeout(20):
            for _ in range(3):
                await looks.get()
        assert group.learned.empty()
        assert caplog.text.count("new partitions of the source topic are not delivered until this topic has them") == 1
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
