"""Follows a topic with any number of partitions, for display. Problems are reported as a sentence, never raised.

It uses a plain aiokafka consumer without a group. It differs from a `Tail`: it does not wait for partitions without a
leader, reads partitions that are added later, and may begin at a time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from aiokafka import TopicPartition

from pipeline.core.clock import SystemClock, steady_now
from pipeline.core.model import Event
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.following import keep_following, lone_consumer, require_topic
from pipeline.kafka.internals import client_of, disconnect, started
from pipeline.kafka.offset_times import offsets_at
from pipeline.kafka.records import AIOKafkaConsumer

logger = logging.getLogger(__name__)

POLL_MS: Final = 500
BATCH: Final = 500
"""Records per turn of the event loop."""
METADATA_MS: Final = 30_000
LOOK_SECONDS: Final = 4.0
"""How often a follower checks whether the broker still answers. A consumer does not report a silent broker."""
SILENT_SECONDS: Final = 7.0
"""After this time without an answer, what was read may be outdated."""


class Follower:
    """The reader of one topic.

    Args:
        topic: the name of the topic, which may be missing.
        on_record: called for every committed record, in log order for each partition; must not raise.
        since_seconds: how far back reading begins; None: at the beginning of the log.

    Attributes:
        answered_at: when the broker answered last, Unix seconds.
        problem: a sentence about the last failure, or None while reading works.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        on_record: Callable[[Event], None],
        *,
        since_seconds: float | None = None,
    ) -> None:
        self.topic = topic
        self.problem: str | None = f"topic {topic}: has not been read yet"
        self.answered_at = 0.0
        self._last_answer = 0.0  # the same by the clock of the event loop, which does not jump
        self._connection = connection
        self._on_record = on_record
        self._since_seconds = since_seconds
        self._clock = SystemClock()
        self._positions: dict[int, int] = {}
        self._first_ends: dict[int, int] = {}
        self._leaderless: list[int] = []
        self._has_looked = False
        self._has_trouble = False
        self._task: asyncio.Task[None] | None = None

    @property
    def partitions(self) -> int:
        """The number of partitions of the topic that are known so far."""
        return max(self._positions, default=-1) + 1

    @property
    def is_current(self) -> bool:
        """Whether everything that existed at the start has been read, and the broker still answers."""
        return self._has_looked and self.problem is None and self._has_caught_up

    @property
    def silence(self) -> str | None:
        """A sentence if the broker has not answered for a while, before `problem` says so; else None."""
        is_silent = self._has_looked and steady_now() - self._last_answer > SILENT_SECONDS
        return f"topic {self.topic}: it does not answer in time" if is_silent else None

    @property
    def has_tried(self) -> bool:
        """Whether the first reading has ended: the follower is current, or `problem` says why not."""
        return self.is_current or self._has_trouble

    @property
    def _has_caught_up(self) -> bool:
        return all(self._positions.get(number, 0) >= end for number, end in self._first_ends.items())

    async def start(self) -> None:
        """Begin to read, in the background."""
        following = keep_following(self.topic, self._follow, self._note_trouble, self._clock)
        self._task = asyncio.get_running_loop().create_task(following)

    async def stop(self) -> None:
        """Stop reading."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        consumer = lone_consumer(self._connection, metadata_max_age_ms=METADATA_MS)
        try:
            await started(consumer)
            await require_topic(consumer, self.topic)
            client = client_of(consumer)
            await client.add_topic(self.topic)
            while True:
                led = client.cluster.available_partitions_for_topic(self.topic) or set()
                known = client.cluster.partitions_for_topic(self.topic) or set()
                self._leaderless = sorted(known - led)
                await self._assign(consumer, led)
                await self._read(consumer, steady_now() + LOOK_SECONDS)
        finally:
            await disconnect(consumer)

    async def _assign(self, consumer: AIOKafkaConsumer, led: Iterable[int]) -> None:
        """Read these partitions, and check whether the broker answers."""
        tps = [TopicPartition(self.topic, number) for number in sorted(led)]
        ends = await consumer.end_offsets(tps) if tps else {}
        self._note_answer()
        if {*tps} != consumer.assignment():
            beginnings = await self._beginnings(consumer, [tp for tp in tps if tp.partition not in self._positions])
            consumer.assign(tps)
            for tp in tps:
                consumer.seek(tp, self._positions.setdefault(tp.partition, beginnings.get(tp, 0)))
                self._first_ends.setdefault(tp.partition, ends[tp])
        self._has_looked = True
        self._note_health()

    async def _beginnings(self, consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        if not tps:
            return {}
        if self._since_seconds is None:
            found: dict[TopicPartition, int] = await consumer.beginning_offsets(tps)
            return found
        moment = int((self._clock.now() - self._since_seconds) * 1000)
        # The ends come first: a record that is written later is not before the end.
        ends = await consumer.end_offsets(tps)
        since = await offsets_at(self._connection, consumer, dict.fromkeys(tps, moment))
        return {tp: ends[tp] if (offset := since[tp]) is None else offset for tp in tps}

    async def _read(self, consumer: AIOKafkaConsumer, until: float) -> None:
        while steady_now() < until:
            if not consumer.assignment():
                await self._clock.sleep(POLL_MS / 1000)
                continue
            found = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH)
            if found:
                self._note_answer()
            for tp, records in found.items():
                for record in records:
                    self._on_record(record)
                self._positions[tp.partition] = records[-1].offset + 1
            if not self._has_caught_up:
                # The position also moves past compacted records and transaction markers.
                for tp in consumer.assignment():
                    self._positions[tp.partition] = await consumer.position(tp)
            if found:
                await asyncio.sleep(0)

    def _note_answer(self) -> None:
        self.answered_at, self._last_answer = self._clock.now(), steady_now()

    def _note_trouble(self, why: str) -> None:
        text = f"topic {self.topic}: {why}"
        if text != self.problem:
            logger.warning("%s; the view of the cluster is incomplete", text)
        self.problem = text
        self._has_trouble = True

    def _note_health(self) -> None:
        numbers = ", ".join(map(str, self._leaderless))
        self.problem = f"topic {self.topic}: no leader for {numbers}" if numbers else None
        self._has_trouble = bool(numbers)
