"""Rebalances: batches that were fetched for a former assignment, and calls that wait across a rebalance."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP

from agents import deliver
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.lease import Lease
from pipeline.core.model import Event
from pipeline.core.sources import Sources
from pipeline.runtime import consumer_thread
from pipeline.runtime.application import DeliveryApp
from pipeline.runtime.consumer_thread import Parts
from pipeline.runtime.log_check import LogCheck
from pipeline.runtime.log_checks import LogChecks
from pipeline.runtime.retrying_consumer import RetryingConsumerThread

TOPIC = "events"


@dataclass
class Handing:
    """A fake dispatcher for the consumer."""

    topic: str = TOPIC
    assigned: frozenset[int] = frozenset()
    flow: object = None
    peers: object = None
    handed: list[tuple[int, Sequence[Event]]] = field(default_factory=list)

    def dispatch(self, number: int, events: Sequence[Event]) -> None:
        self.handed.append((number, events))


@pytest.fixture
def app(tmp_path: Path) -> DeliveryApp:
    """The application, not started."""
    made = DeliveryApp("intake", broker="kafka://127.0.0.1:1", store="memory://", datadir=tmp_path)
    check = cast("LogCheck", SimpleNamespace(is_another=lambda topic_id: topic_id == "new"))
    sources = Sources([cast("Dispatcher", Handing())])
    made.use(Parts(sources, LogChecks({TOPIC: check}), Lease(15.0), "read_committed", drain_seconds=1.0))
    return made


def record(place: TP, offset: int) -> Any:
    return ConsumerRecord(place.topic, place.partition, offset, 0, 0, b"sub-1", b"body", None, 5, 4, ())


@pytest.fixture
async def consumer(app: DeliveryApp) -> Any:
    return app.consumer


@dataclass
class Log:
    """A fake of Kafka's consumer whose fetches always return the same records."""

    records: Mapping[TP, Sequence[Any]] = field(default_factory=dict)
    sought: dict[TP, int] = field(default_factory=dict)

    def seek(self, tp: TP, offset: int) -> None:
        self.sought[TP(*tp)] = offset

    def positions(self, topic: str) -> dict[int, int]:
        return {tp.partition: batch[-1].offset + 1 for tp, batch in self.records.items() if tp.topic == topic}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()

    async def fetch(*_: object) -> Mapping[TP, Sequence[Any]]:
        return found.records

    monkeypatch.setattr(RetryingConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(consumer_thread, "positions", lambda _, topic: found.positions(topic))
    return found


def fetch(
    consumer: Any, log: Log, records: Mapping[TP, Sequence[Any]], *, meanwhile: Iterable[int] = ()
) -> AsyncGenerator[tuple[TP, object]]:
    """The result of a fetch of these records. *meanwhile* are generations that begin during the fetch."""
    log.records = records
    log.sought.clear()

    async def wait_next_records(_timeout: float) -> tuple[Mapping[TP, Sequence[Any]], set[TP]]:
        found = await consumer._thread._fetch_records(log, set(records))
        for generation in meanwhile:
            consumer.app.consumer_generation_id = generation
        return found, set(records)

    consumer._wait_next_records = wait_next_records
    consumer.highwater = lambda _: 100
    consumer.resume_flow()
    return cast("AsyncGenerator[tuple[TP, object]]", consumer.getmany(1.0))


async def fetched(
    consumer: Any, log: Log, records: Mapping[TP, Sequence[Any]], *, meanwhile: Iterable[int] = ()
) -> tuple[list[TP], dict[TP, int]]:
    """The partitions whose records reach the stream, and the seeks that were made before the fetch."""
    tps: list[TP] = []
    async for tp, message in fetch(consumer, log, records, meanwhile=meanwhile):
        tps += cast("Any", message).value if tp.topic == TOPIC else [tp]
    return tps, log.sought


@pytest.mark.parametrize("topic", [TOPIC, "a-changelog"])
async def test_a_fetch_that_spans_a_rebalance_is_dropped_and_repeated(consumer: Any, log: Log, topic: str) -> None:
    tp = TP(topic, 0)
    records = {tp: [record(tp, 7), record(tp, 8)]}
    assert await fetched(consumer, log, records, meanwhile=[1]) == ([], {})
    yielded, sought = await fetched(consumer, log, records)
    assert (set(yielded), sought) == ({tp}, {tp: 7})
    assert (await fetched(consumer, log, records))[1] == {}


@pytest.mark.parametrize("topic", [TOPIC, "a-changelog"])
async def test_batches_that_the_stream_did_not_take_are_fetched_again(consumer: Any, log: Log, topic: str) -> None:
    """Faust may be cancelled while it processes the result of a fetch."""
    first, second = TP(topic, 0), TP(topic, 1)
    records = {first: [record(first, 3)], second: [record(second, 5)]}
    abandoned = fetch(consumer, log, records)
    await anext(abandoned)
    await abandoned.aclose()
    yielded, sought = await fetched(consumer, log, records)
    assert set(yielded) == {first, second}
    assert sought == {first: 3, second: 5}


async def test_an_offset_out_of_range_is_ignored_after_a_rebalance(consumer: Any, log: Log) -> None:
    """The topic was recreated and has grown beyond the position. A consumer that continued there would miss the first
    events."""
    place = TP(TOPIC, 0)
    consumer._thread._out_of_range = {TP(TOPIC, 0): 1000}
    assert await fetched(consumer, log, {}, meanwhile=[1]) == ([], {})
    handed, _ = await fetched(consumer, log, {place: [record(place, 0)]})
    assert handed == [place]
    assert not consumer._seeking


async def test_a_cancelled_search_for_an_offset_begins_again(consumer: Any, log: Log) -> None:
    """If a partition is given back at once, its search is cancelled before it begins. The next owner's must begin."""
    consumer._thread._out_of_range = {TP(TOPIC, 0): 1000}
    await fetched(consumer, log, {})
    [search] = consumer._seeking.values()
    search.cancel()
    await asyncio.wait([search])

    consumer._thread._out_of_range = {TP(TOPIC, 0): 1000}
    await fetched(consumer, log, {})
    assert not consumer._seeking[TP(TOPIC, 0)].done()
    consumer._seeking[TP(TOPIC, 0)].cancel()


@pytest.mark.parametrize(("assigned", "rejoins"), [(frozenset({0}), 1), (frozenset(), 0)])
async def test_only_owners_of_partitions_rejoin_for_a_recreated_topic(
    app: DeliveryApp, consumer: Any, assigned: frozenset[int], rejoins: int
) -> None:
    """A worker without partitions compares no topic ids. If it did, it would rejoin repeatedly."""
    app.parts.sources[TOPIC].assigned = assigned
    joined: list[object] = []
    consumer.delivery_thread.rejoin = lambda: joined.append(consumer)
    app.learn_topic_id(TOPIC, "old")
    app.learn_topic_id(TOPIC, "new")
    assert len(joined) == rejoins


class Fetches:
    """The stream of the agent."""

    def __init__(self, *fetches: Any) -> None:
        self._fetches = fetches

    async def events(self) -> AsyncIterator[Any]:
        for each in self._fetches:
            yield each


def fetch_of(generation: int, *partitions: int) -> Any:
    return SimpleNamespace(
        value=dict.fromkeys([TP(TOPIC, number) for number in partitions], ()),
        message=SimpleNamespace(generation_id=generation),
    )


@pytest.fixture
def agent(app: DeliveryApp) -> Any:
    return deliver.attach(app)


async def test_a_batch_from_before_a_rebalance_is_dropped(app: DeliveryApp, agent: Any) -> None:
    """Such a batch comes too early: the partition was reopened at its committed offset, and has to read earlier events
    first."""
    app.consumer_generation_id = 3
    async for _ in agent.fun(Fetches(fetch_of(2, 0), fetch_of(3, 1, 2))):
        pass
    assert cast("Handing", app.parts.sources[TOPIC]).handed == [(1, ()), (2, ())]


async def test_a_fetch_waits_while_all_partitions_are_paused(consumer: Any) -> None:
    consumer._set_active_tps({TP(TOPIC, 0)})
    consumer._sources[TOPIC].flow.pause_source(TOPIC, 0)
    assert consumer._paused_sources == {TP(TOPIC, 0)}
    waiting = asyncio.create_task(consumer._some_flow())
    await asyncio.sleep(0)
    assert not waiting.done()

    consumer._sources[TOPIC].flow.resume_source(TOPIC, 0)
    assert (consumer._paused_sources, consumer._active_partitions) == (set(), {TP(TOPIC, 0)})
    for _ in range(3):
        await asyncio.sleep(0)
    assert waiting.done()


async def test_resuming_twice_drops_no_event(app: DeliveryApp) -> None:
    """Faust resumes again at the end of a recovery, when events may already have been fetched."""
    queue = app.FlowControlQueue(10, clear_on_resume=True)
    app.flow_control.resume()
    queue.put_nowait("fetched")
    app.flow_control.resume()
    assert queue.qsize() == 1
    app.flow_control.suspend()
    app.flow_control.resume()
    assert queue.empty()
