"""Offsets are committed soon, one commit at a time, and only while there is something to commit."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from pipeline.core.dispatcher import Dispatcher
from pipeline.core.sources import Sources, TopicPartition
from pipeline.runtime.commit_pace import EVENTS, LONGEST_SECONDS, RETRY_SECONDS, SHORTEST_SECONDS, pause_after
from pipeline.runtime.consumer import DeliveryConsumer
from tests.support.virtual_time import in_virtual_time

ALL = {TP("events", 0), TP("events", 1), TP("changelog", 0)}


class Group:
    """The offsets that windows allow to commit, and a coordinator that takes some time to confirm a commit."""

    topic = "events"
    peers: object = None

    def __init__(self) -> None:
        self.windows: dict[int, int] = {}
        self.confirmed: list[Mapping[TP, int]] = []
        self.asked_at: list[float] = []
        self.under_way = self.most_under_way = 0
        self.is_refusing = False
        self.seconds = self.closing_seconds = 0.0
        self.closed: set[int] = set()
        self.deleted: set[int] = set()
        self.noted: list[Mapping[TP, int | None]] = []

    def is_open(self, number: int) -> bool:
        return number not in self.closed

    def begun_to(self, number: int) -> int | None:
        return 5 if self.is_open(number) else None

    def offsets_to_commit(self) -> dict[int, int]:
        return dict(self.windows)

    def committed(self, offsets: Mapping[int, int], _begun_to: Mapping[int, int | None]) -> int:
        self.windows = {number: at for number, at in self.windows.items() if at != offsets.get(number)}
        return 1

    async def committable(self, offsets: Mapping[TP, int]) -> Mapping[TP, int]:
        return {tp: offset for tp, offset in offsets.items() if tp.partition not in self.deleted}

    async def drain(self, _numbers: Iterable[int], _seconds: float) -> Mapping[int, int]:
        return self.offsets_to_commit()

    def close(self, numbers: Iterable[int]) -> Awaitable[None]:
        self.closed |= set(numbers)
        return self._close()

    async def _close(self) -> None:
        await asyncio.sleep(self.closing_seconds)
        self.windows.clear()

    async def commit_with_metadata(self, offsets: Mapping[TP, int], begun_to: Mapping[TP, int | None]) -> bool:
        self.asked_at.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.seconds)
        self.under_way -= 1
        if not self.is_refusing:
            self.confirmed.append(offsets)
            self.noted.append(begun_to)
        return not self.is_refusing


def committing(group: Group) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(
        cast("Any", DeliveryConsumer._keep_committing).fun(consumer_of(group))
    )


def consumer_of(group: Group) -> Any:
    consumer = cast("Any", object.__new__(DeliveryConsumer))
    consumer._stopped = consumer._crashed = asyncio.Event()
    consumer._commit_lock = asyncio.Lock()
    consumer._committing = consumer._opening = None
    consumer._seeking = {}
    consumer._thread = group
    nothing = SimpleNamespace(on_commit=lambda _: None, on_tp_commit=lambda _: None)
    check = SimpleNamespace(trusted=lambda offsets: offsets, committable=group.committable)
    consumer.app = SimpleNamespace(
        parts=SimpleNamespace(sources=Sources([cast("Dispatcher", group)]), log_checks=check, drain_seconds=1.0),
        tables=nothing,
        monitor=nothing,
    )
    consumer.assignment = lambda: ALL
    return consumer


@in_virtual_time
async def test_commits_follow_progress_and_cease_without_it() -> None:
    group = Group()
    task = committing(group)
    await asyncio.sleep(1.0)
    group.windows = {0: 7}
    await asyncio.sleep(2 * LONGEST_SECONDS)
    assert group.confirmed == [{TP("events", 0): 7}]
    await asyncio.sleep(100.0)
    assert len(group.asked_at) == 1
    task.cancel()


@in_virtual_time
async def test_only_one_commit_is_under_way_at_a_time() -> None:
    group = Group()
    group.seconds, group.windows = 10 * LONGEST_SECONDS, {0: 7}
    consumer = consumer_of(group)
    task = asyncio.get_running_loop().create_task(cast("Any", DeliveryConsumer._keep_committing).fun(consumer))
    await asyncio.sleep(2 * LONGEST_SECONDS)
    group.windows = {0: 8, 1: 9}
    await consumer.commit_settled(consumer._sources.offsets_to_commit())  # like when a partition is given back
    assert (group.most_under_way, len(group.confirmed)) == (1, 2)
    task.cancel()


@in_virtual_time
async def test_a_commit_that_is_refused_is_tried_again_after_a_pause() -> None:
    group = Group()
    group.is_refusing, group.windows = True, {0: 7}
    task = committing(group)
    await asyncio.sleep(LONGEST_SECONDS + 3.5 * RETRY_SECONDS)
    assert len(group.asked_at) == 4
    group.is_refusing = False
    await asyncio.sleep(RETRY_SECONDS)
    assert group.confirmed == [{TP("events", 0): 7}]
    task.cancel()


@in_virtual_time
async def test_no_commit_continues_after_the_partitions_are_given_back() -> None:
    """Such a commit would move the next owner's offset back."""
    group = Group()
    group.seconds, group.windows = 60.0, {0: 7}
    consumer = consumer_of(group)
    task = asyncio.get_running_loop().create_task(cast("Any", DeliveryConsumer._keep_committing).fun(consumer))
    await asyncio.sleep(1.0)
    await consumer.give_back({TopicPartition("events", 0)})
    await asyncio.sleep(100.0)
    assert group.confirmed == []

    group.seconds, group.windows, group.closed = 0.0, {0: 9}, set()
    await asyncio.sleep(1.0)
    assert group.confirmed == [{TP("events", 0): 9}], "offsets of the next assignment are committed"
    task.cancel()


@in_virtual_time
async def test_no_commit_follows_a_partition_s_last_commit() -> None:
    """A later commit would lack the note and `begun_to`, because the partition is closed by then."""
    group = Group()
    group.seconds, group.closing_seconds = 2 * LONGEST_SECONDS, 10 * LONGEST_SECONDS
    consumer = consumer_of(group)
    task = asyncio.get_running_loop().create_task(cast("Any", DeliveryConsumer._keep_committing).fun(consumer))
    await asyncio.sleep(1.0 + LONGEST_SECONDS / 2)
    group.windows = {0: 7}
    await consumer.give_back({TopicPartition("events", 0)})  # another commit waits for the first one
    await asyncio.sleep(100.0)
    assert (group.confirmed, group.noted) == ([{TP("events", 0): 7}], [{TP("events", 0): 5}])
    task.cancel()


@in_virtual_time
async def test_an_unconfirmed_last_commit_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, DeliveryConsumer.__module__)
    group = Group()
    group.is_refusing, group.windows = True, {0: 7}
    await consumer_of(group).give_back({TopicPartition("events", 0)})
    assert caplog.messages == [
        "the last commit of partitions [0] of events was not confirmed, so events may be repeated"
    ]


@in_virtual_time
async def test_a_partition_lost_in_a_drain_is_not_logged_as_committed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, DeliveryConsumer.__module__)
    group = Group()
    group.windows, group.closed = {0: 7, 1: 9}, {0}
    await consumer_of(group).give_back({TopicPartition("events", 0), TopicPartition("events", 1)})
    assert group.confirmed == [{TP("events", 1): 9}]
    assert caplog.messages == ["gave back partitions [1] of events: drained and committed"]


@in_virtual_time
async def test_a_deleted_log_is_not_logged_as_committed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, DeliveryConsumer.__module__)
    group = Group()
    group.windows, group.deleted = {0: 7, 1: 9}, {0}
    await consumer_of(group).give_back({TopicPartition("events", 0), TopicPartition("events", 1)})
    assert group.confirmed == [{TP("events", 1): 9}]
    assert caplog.messages == ["gave back partitions [1] of events: drained and committed"]


@in_virtual_time
async def test_giving_back_a_partition_cancels_its_offset_search() -> None:
    """A search that continued would count the next owner's events, and seek in a partition that is no longer
    assigned."""
    consumer = consumer_of(Group())
    consumer._seeking[TP("events", 0)] = search = asyncio.create_task(asyncio.Event().wait())
    await consumer.give_back({TopicPartition("events", 0)})
    await asyncio.wait([search], timeout=60)
    assert search.cancelled()


@in_virtual_time
async def test_partitions_no_longer_owned_are_not_committed() -> None:
    group = Group()
    consumer = consumer_of(group)
    assert await consumer.commit_settled({}) == 0
    assert await consumer.commit_settled({TopicPartition("events", 5): 7}) == 0
    assert await consumer.commit_settled({TopicPartition("events", 1): 4, TopicPartition("events", 5): 7}) == 1
    assert group.confirmed == [{TP("events", 1): 4}]


def test_the_pause_between_commits_depends_on_the_event_rate() -> None:
    pauses = {}
    for per_second in (0, 100, 1_000, 3_000, 100_000):
        pause = LONGEST_SECONDS
        for _ in range(10):
            pause = pause_after(round(per_second * pause), pause)
        pauses[per_second] = round(pause, 3)
    assert pauses == {
        0: LONGEST_SECONDS,
        100: LONGEST_SECONDS,
        1_000: EVENTS / 1_000,
        3_000: round(EVENTS / 3_000, 3),
        100_000: SHORTEST_SECONDS,
    }


def test_an_unconfirmed_commit_delays_only_the_next_one() -> None:
    assert pause_after(None, SHORTEST_SECONDS) == RETRY_SECONDS
    assert pause_after(3_000, RETRY_SECONDS) == EVENTS / 3_000
