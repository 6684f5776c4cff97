"""Reads the log again for lanes that are behind: one plain consumer per worker, fed only where there is room.

It always reads where the most backward lane with room stands, and every lane that the stretch covers gets its share
(docs/design.md, The log reader), so lanes that fell behind together are served by one reading. Events that nobody waits
for are passed over before anything is made of them: of a partition with many subscriptions few may be behind.
"""

import asyncio
import logging
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from pipeline.core.ports import Behind
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.event_count import EventCounter
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.topics import IsolationLevel

logger = logging.getLogger(__name__)

STRETCH_EVENTS: Final = 250
"""Events per reading: enough to be quick, few enough to keep the event loop free for deliveries (some 0.4 ms)."""
BREATH_SECONDS: Final = 0.001
"""After each reading, while events come from the stream: theirs have a few steps to go, and would wait at each."""
FETCH_BYTES: Final = 256 * 1024
"""Per request: an answer is gone through in one go. A single event may be larger, and is fetched all the same."""
FETCH_WAIT_MS: Final = 50
"""What is wanted is there already. A request at the end of the log, made ahead, must not hold up the next one."""
POLL_MS: Final = 200
"""So long a reading goes on that finds nothing but others' events."""
RETRY_PAUSE_SECONDS: Final = 1.0
READ_SECONDS: Final = 60.0
"""So long one reading may take, with all brokers away for a while: then another consumer is made."""


class Backlog:
    """The reading service of a worker.

    Args:
        connection: of the source's cluster.
        topic: the source topic.
        isolation_level: as the stream is read.
    """

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
        """Begin to serve; the consumer connects at the first wish."""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    async def close(self) -> None:
        """Stop serving and disconnect."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._disconnect()

    def wake(self, partition: Behind) -> None:
        """A lane of the partition wants events."""
        self._wanting[partition] = None
        self._wanted.set()

    def forget(self, partition: Behind) -> None:
        """The partition is closed."""
        self._wanting.pop(partition, None)
        self._rest(TopicPartition(self._topic, partition.number))

    async def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        """The first offset at or after a time; None if there is none. Tries until the broker answers."""
        place = TopicPartition(self._topic, partition)
        while True:
            try:
                consumer = await self._connected()
                found = await consumer.offsets_for_times({place: timestamp_ms})
            except (KafkaError, OSError) as error:
                logger.warning("could not look up the offset of a time in %s yet: %r", place, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            else:
                return None if found[place] is None else int(found[place].offset)

    async def end_of(self, partition: int) -> int:
        """The end of the log, as far as it may be read. Tries until the broker answers."""
        place = TopicPartition(self._topic, partition)
        while True:
            try:
                consumer = await self._connected()
                return int((await consumer.end_offsets([place]))[place])
            except (KafkaError, OSError) as error:
                logger.warning("could not look up the end of %s yet: %r", place, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def count(self, partition: int, key: bytes, start: int, end: int) -> int:
        """How many events with this key the log has from *start* up to *end*. Tries until the broker answers."""
        while True:
            try:
                async with EventCounter(self._connection, self._topic, self._isolation_level) as counter:
                    return await counter.count(partition, key, start, end)
            except (KafkaError, OSError) as error:
                logger.warning("could not count the events of a range of %s-%d yet: %r", self._topic, partition, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _serve(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for partition in list(self._wanting):
                await self._read_guarded(partition)
                # What the consumer has at hand it gives without a wait: nobody else would have a turn before its end.
                await asyncio.sleep(BREATH_SECONDS if partition.is_streaming else 0)
            if self._wanting:
                self._wanted.set()

    async def _read_guarded(self, partition: Behind) -> None:
        limit = asyncio.timeout(READ_SECONDS)
        try:
            async with limit:
                await self._read(partition)
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            logger.warning("could not read %s-%d again yet: %r", self._topic, partition.number, error)
            if limit.expired():
                await self._disconnect()
            await asyncio.sleep(RETRY_PAUSE_SECONDS)
        except Exception:  # a fault of ours in one partition must not end the service for the others
            logger.exception("could not read %s-%d again", self._topic, partition.number)
            await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _read(self, partition: Behind) -> None:
        wanted = partition.wanted()
        place = TopicPartition(self._topic, partition.number)
        if wanted is None:
            self._wanting.pop(partition, None)
            self._rest(place)
            return
        consumer = await self._connected()
        self._assign(consumer, place, wanted.place)
        if await consumer.position(place) != wanted.place:
            consumer.seek(place, wanted.place)
        self._sieve.keys = wanted.keys
        try:
            found = await consumer.getmany(place, timeout_ms=POLL_MS, max_records=STRETCH_EVENTS)
        except OffsetOutOfRangeError:
            await self._find_beginning(consumer, place, partition, wanted.place)
            return
        # Beyond the last event lies what was passed over: others' events, markers, what was compacted away.
        partition.feed(wanted, await consumer.position(place), found.get(place, ()))

    async def _find_beginning(
        self, consumer: AIOKafkaConsumer, place: TopicPartition, partition: Behind, start: int
    ) -> None:
        begin = (await consumer.beginning_offsets([place]))[place]
        if begin <= start:
            raise KafkaError(f"offset {start} is beyond the end of {place}")
        partition.log_begins_at(begin)

    def _assign(self, consumer: AIOKafkaConsumer, place: TopicPartition, start: int) -> None:
        """Fetch for all partitions that want events, each from where it will be read."""
        if place in consumer.assignment():
            consumer.resume(place)
            return
        places = {place: start}
        for partition in self._wanting:
            wanted = partition.wanted()
            if wanted is not None:
                places.setdefault(TopicPartition(self._topic, partition.number), wanted.place)
        # None without its place: in no group there is nobody to ask for it, and aiokafka would wait for it for ever.
        consumer.assign(set(places))
        for each, offset in places.items():
            consumer.seek(each, offset)

    def _rest(self, place: TopicPartition) -> None:
        """Fetch no more of it, or the brokers would be asked for the end of its log again and again."""
        if self._consumer is not None and place in self._consumer.assignment():
            self._consumer.pause(place)

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
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level=self._isolation_level,
            key_deserializer=self._sieve,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            max_partition_fetch_bytes=FETCH_BYTES,
            check_crcs=not self._connection.embedded,
            **self._connection.client_options(),
        )
        try:
            await consumer.start()
        except BaseException:
            await disconnect(consumer)
            raise
        return consumer
