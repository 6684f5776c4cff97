"""Reads the log again for lanes that are behind, with one plain consumer per source topic.

Each read begins at the reading position of a lane that has room, usually of the lane that is furthest behind. The
stretch that was read has events for many lanes (docs/design.md, The log reader). So one read serves all lanes that fell
behind at the same time. With `routing: key`, records that no lane waits for are skipped before they become objects.
"""

import asyncio
import logging
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from pipeline.core.ports import Behind, Matching
from pipeline.core.sources import TopicPartition as SourcePartition
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.event_count import EventCounter
from pipeline.kafka.internals import disconnect, start_or_disconnect
from pipeline.kafka.offset_times import offsets_at
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.topics import IsolationLevel

logger = logging.getLogger(__name__)

STRETCH_EVENTS: Final = 250
"""Events per read: enough to be fast, few enough to keep the event loop free for deliveries (about 0.4 ms)."""
BREATH_SECONDS: Final = 0.001
"""The pause after each read while the stream is busy, so that deliveries from the stream get the event loop."""
FETCH_BYTES: Final = 256 * 1024
"""The largest response to a fetch. It is limited because parsing does not yield to the event loop. A larger event is
fetched nevertheless."""
FETCH_WAIT_MS: Final = 50
"""How long a broker may hold an empty fetch. An empty fetch only occurs as a prefetch at the end of the log, and the
next request must not wait for it."""
POLL_MS: Final = 200
"""The longest duration of a poll that finds only events of other subscriptions."""
RETRY_PAUSE_SECONDS: Final = 1.0
READ_SECONDS: Final = 60.0
"""The longest duration of a read, even without brokers. After that, the consumer is replaced."""


class LogReader:
    """The log reader of one source topic."""

    def __init__(
        self, connection: KafkaConnection, topic: str, isolation_level: IsolationLevel = "read_committed"
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._isolation_level = isolation_level
        self._wanting: dict[Behind, None] = {}
        self._wanted = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._sieve = Sieve()
        self._connecting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start serving. The consumer connects when a lane first wants events."""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    async def close(self) -> None:
        """Stop serving and disconnect."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._disconnect()

    def wake(self, partition: Behind) -> None:
        """Record that a lane of the partition wants events."""
        self._wanting[partition] = None
        self._wanted.set()

    def forget(self, partition: Behind) -> None:
        """Read no more of a partition that is being closed."""
        self._wanting.pop(partition, None)
        self._rest(TopicPartition(self._topic, partition.number))

    async def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        """The first offset at or after a time; None if there is none. Retries until a broker answers."""
        tp = TopicPartition(self._topic, partition)
        while True:
            try:
                consumer = await self._connected()
                return (await offsets_at(self._connection, consumer, {tp: timestamp_ms}))[tp]
            except (KafkaError, OSError) as error:
                logger.warning("could not look up the offset of a time in %s; trying again: %r", tp, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def end_of(self, partition: int) -> int:
        """The end of the readable log. Retries until a broker answers."""
        tp = TopicPartition(self._topic, partition)
        while True:
            try:
                consumer = await self._connected()
                return int((await consumer.end_offsets([tp]))[tp])
            except (KafkaError, OSError) as error:
                logger.warning("could not look up the end of %s; trying again: %r", tp, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def count(self, partition: int, key: bytes, start: int, end: int, matching: Matching | None) -> int:
        """See `EventCounter.count_each`. Retries until a broker answers."""
        tp = SourcePartition(self._topic, partition)
        while True:
            try:
                async with EventCounter(self._connection, self._isolation_level) as counter:
                    return (await counter.count_each(tp, {key: (start, end)}, matching))[key]
            except (KafkaError, OSError) as error:
                logger.warning("could not count events of %s-%d; trying again: %r", self._topic, partition, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _serve(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for partition in list(self._wanting):
                await self._read_guarded(partition)
                # A consumer returns fetched records without suspending. Without this pause, the loop would starve all
                # other tasks.
                await asyncio.sleep(BREATH_SECONDS if partition.is_streaming else 0)
            if self._wanting:
                self._wanted.set()

    async def _read_guarded(self, partition: Behind) -> None:
        limit = asyncio.timeout(READ_SECONDS)
        try:
            async with limit:
                await self._read(partition)
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            logger.warning("could not read %s-%d again; trying again: %r", self._topic, partition.number, error)
            if limit.expired():
                await self._disconnect()
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
        except Exception:  # a bug in one partition must not stop reading for other partitions
            logger.exception("could not read %s-%d again; trying again", self._topic, partition.number)
            await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _read(self, partition: Behind) -> None:
        wanted = partition.wanted()
        tp = TopicPartition(self._topic, partition.number)
        if wanted is None:
            self._wanting.pop(partition, None)
            self._rest(tp)
            return
        consumer = await self._connected()
        self._assign(consumer, tp, wanted.start)
        if await consumer.position(tp) != wanted.start:
            consumer.seek(tp, wanted.start)
        self._sieve.keys = wanted.keys
        try:
            found = await consumer.getmany(tp, timeout_ms=POLL_MS, max_records=STRETCH_EVENTS)
        except OffsetOutOfRangeError:
            await self._find_beginning(consumer, tp, partition, wanted.start)
            return
        # The position may be after the last event: past skipped events, transaction markers and compacted records.
        partition.feed(wanted, await consumer.position(tp), found.get(tp, ()))

    async def _find_beginning(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, partition: Behind, start: int
    ) -> None:
        begin = (await consumer.beginning_offsets([tp]))[tp]
        if begin <= start:
            raise KafkaError(f"offset {start} is beyond the end of {tp}")
        partition.log_begins_at(begin)

    def _assign(self, consumer: AIOKafkaConsumer, tp: TopicPartition, start: int) -> None:
        """Fetch for all partitions that want events, each from the offset at which its next read begins."""
        if tp in consumer.assignment():
            consumer.resume(tp)
            return
        starts = {tp: start}
        for partition in self._wanting:
            wanted = partition.wanted()
            if wanted is not None:
                starts.setdefault(TopicPartition(self._topic, partition.number), wanted.start)
        # Each partition needs a position: without a group, there is no committed offset, for which aiokafka would wait
        # indefinitely.
        consumer.assign(set(starts))
        for each, offset in starts.items():
            consumer.seek(each, offset)

    def _rest(self, tp: TopicPartition) -> None:
        """Pause the fetches of a partition that wants no events, because they would poll the end of its log forever."""
        if self._consumer is not None and tp in self._consumer.assignment():
            self._consumer.pause(tp)

    async def _connected(self) -> AIOKafkaConsumer:
        async with self._connecting:
            if self._consumer is None:
                self._consumer = await self._connect()
            return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await disconnect(consumer)

    async def _connect(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            auto_offset_reset="none",
            isolation_level=self._isolation_level,
            key_deserializer=self._sieve,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            **self._connection.consumer_options(),
        )
        await start_or_disconnect(consumer)
        return consumer
