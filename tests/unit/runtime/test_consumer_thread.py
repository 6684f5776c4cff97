"""The consumer's thread: fetched records reach the worker, or are fetched again."""

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import OffsetMetadataTooLargeError
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from pipeline.core.ahead import pack
from pipeline.runtime import consumer_thread
from pipeline.runtime.consumer_thread import GATHER_SECONDS, DeliveryConsumerThread
from pipeline.runtime.retrying_consumer import RetryingConsumerThread

SOURCE = TP("events", 5)


class _Log:
    """One partition with endless records, two per fetch. A test releases the fetches."""

    def __init__(self) -> None:
        self.position = 0
        self.gates: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    def seek(self, _: object, offset: int) -> None:
        self.position = offset

    async def fetch(self, *_: object) -> dict[TP, list[Any]]:
        gate = asyncio.Event()
        self.gates.put_nowait(gate)
        await gate.wait()
        first, self.position = self.position, self.position + 2
        return {SOURCE: [SimpleNamespace(offset=first), SimpleNamespace(offset=first + 1)]}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> _Log:
    log = _Log()
    monkeypatch.setattr(RetryingConsumerThread, "_fetch_records", lambda _, *arguments: log.fetch(*arguments))
    monkeypatch.setattr(consumer_thread, "positions", lambda *_: {5: log.position})
    return log


@pytest.fixture
def thread() -> DeliveryConsumerThread:
    thread = DeliveryConsumerThread.__new__(DeliveryConsumerThread)
    thread._not_in_stream, thread._fetched = {}, 0
    thread._consumer = cast("Any", SimpleNamespace())
    return thread


@pytest.fixture
def fetch(log: _Log, thread: DeliveryConsumerThread) -> Callable[[], "asyncio.Task[Any]"]:
    async def fetched(*, claimed: bool) -> list[int]:
        records = await thread._fetch_records(log, {SOURCE})
        if claimed:
            thread.reached_stream(SOURCE)
        return [record.offset for record in records[SOURCE]]

    def start(*, claimed: bool = True) -> "asyncio.Task[Any]":
        return asyncio.create_task(fetched(claimed=claimed))

    return start


async def let_one_go(log: _Log) -> None:
    (await log.gates.get()).set()


async def test_a_batch_that_did_not_reach_the_stream_is_refetched(log: _Log, fetch: Callable[..., Any]) -> None:
    abandoned = fetch(claimed=False)
    await let_one_go(log)
    assert await abandoned == [0, 1]
    following = fetch()
    await let_one_go(log)
    assert await following == [0, 1]


async def test_the_next_fetch_begins_at_the_lost_batch(
    log: _Log, thread: DeliveryConsumerThread, fetch: Callable[..., Any]
) -> None:
    """Otherwise the events of an unclaimed fetch would be skipped like a gap in the log."""
    abandoned = fetch(claimed=False)
    await let_one_go(log)
    assert await abandoned == [0, 1]
    assert log.position == 2
    assert thread.positions("events") == {5: 0}
    thread.reached_stream(SOURCE)
    assert thread.positions("events") == {5: 2}


async def test_a_batch_that_reached_the_stream_is_not_refetched(log: _Log, fetch: Callable[..., Any]) -> None:
    first = fetch()
    await let_one_go(log)
    assert await first == [0, 1]
    second = fetch()
    await let_one_go(log)
    assert await second == [2, 3]


async def test_a_lost_batch_does_not_count_as_a_gap(log: _Log, fetch: Callable[..., Any]) -> None:
    log.position = 8
    given_up = fetch(claimed=False)
    await let_one_go(log)
    assert await given_up == [8, 9]
    log.position = 4  # the partition has been opened here since the fetch
    following = fetch()
    await let_one_go(log)
    assert await following == [4, 5]


async def test_a_blocked_event_loop_does_not_end_the_consumer_thread() -> None:
    thread = DeliveryConsumerThread.__new__(DeliveryConsumerThread)
    async with asyncio.timeout(1):  # mode's own wait continues until the service stops
        await thread._keepalive2()


@pytest.mark.parametrize(("events", "seconds"), [(0, 0.0), (1, GATHER_SECONDS), (63, GATHER_SECONDS), (64, 0.0)])
async def test_a_fetch_that_follows_a_small_one_is_delayed(
    events: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetched(*_: object) -> dict[TP, list[Any]]:
        return {SOURCE: [SimpleNamespace(offset=each) for each in range(events)]}

    monkeypatch.setattr(RetryingConsumerThread, "_fetch_records", fetched)
    thread = DeliveryConsumerThread.__new__(DeliveryConsumerThread)
    thread._not_in_stream = {}
    await thread._fetch_records(None, {SOURCE})
    assert thread._seconds_to_gather() == seconds


NOTE = f"settled={pack(4, 0b11010)};topic-id=a"


class _Broker:
    """Accepts commits whose metadata is short enough."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.asked: list[OffsetAndMetadata] = []

    async def commit(self, offsets: Mapping[TP, OffsetAndMetadata]) -> None:
        self.asked += offsets.values()
        if any(len(each.metadata) > self.longest for each in offsets.values()):
            raise OffsetMetadataTooLargeError


def committing() -> DeliveryConsumerThread:
    thread = DeliveryConsumerThread.__new__(DeliveryConsumerThread)
    thread._is_settled_refused = False
    return thread


def wrapped(offset: object) -> dict[TP, OffsetAndMetadata]:
    """An offset in the form that Faust passes, with empty metadata."""
    return {SOURCE: OffsetAndMetadata(offset, "")}


async def test_only_source_offsets_are_committed_with_metadata() -> None:
    broker, thread = _Broker(4096), committing()
    await thread._commit_with_notes(broker.commit, wrapped(OffsetAndMetadata(4, NOTE)))
    await thread._commit_with_notes(broker.commit, wrapped(7))
    assert broker.asked == [OffsetAndMetadata(4, NOTE), OffsetAndMetadata(7, "")]


async def test_a_refused_note_is_left_out_of_the_commit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker, thread = _Broker(20), committing()
    for _ in range(2):
        await thread._commit_with_notes(broker.commit, wrapped(OffsetAndMetadata(4, NOTE)))
    plain = OffsetAndMetadata(4, "topic-id=a")
    assert broker.asked == [OffsetAndMetadata(4, NOTE), plain, plain]
    assert len(caplog.records) == 1
    assert "offset.metadata.max.bytes" in caplog.text


@pytest.mark.parametrize(("known", "count"), [({0, 1, 2}, 3), (set(), None), (None, None)])
def test_every_worker_knows_the_number_of_partitions(known: set[int] | None, count: int | None) -> None:
    thread = DeliveryConsumerThread.__new__(DeliveryConsumerThread)
    thread._consumer = None
    assert thread.topic_partitions("events") is None
    # A coordinator on another broker than the leader may not have the topic.
    coordinator = SimpleNamespace(_metadata_snapshot={})
    thread._consumer = SimpleNamespace(partitions_for_topic={"events": known}.get, _coordinator=coordinator)
    assert thread.topic_partitions("events") == count
