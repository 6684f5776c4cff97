"""Follows a topic of one partition from its beginning, and can tell when it has read everything there is.

Plain aiokafka, no group: every worker reads all of it. Whatever happens to the broker, it goes on trying.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.clock import Clock, SystemClock
from pipeline.core.errors import BrokerError
from pipeline.core.model import Event
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer

logger = logging.getLogger(__name__)

POLL_MS: Final = 1_000
KAFKA_WAIT_MS: Final = 500
EMBEDDED_WAIT_MS: Final = 50
"""How long a broker may hold a fetch. Kafka answers as soon as there is a record, the embedded one when time is up."""
BATCH: Final = 100
"""Records per turn of the event loop: reading thousands of subscriptions at start must not hold it."""
REQUEST_TIMEOUT_MS: Final = 10_000
PROBE_SECONDS: Final = 10.0
"""How often an idle tail asks the broker whether it is still there."""
FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 5.0

Result = TypeVar("Result")


class Tail:
    """The reader of one topic.

    Args:
        connection: of the cluster.
        topic: has one partition.
        on_record: called for every record, in log order; must not raise.
        clock: waits between attempts.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        on_record: Callable[[Event], None],
        clock: Clock | None = None,
    ) -> None:
        self._connection = connection
        self._place = TopicPartition(topic, 0)
        self._on_record = on_record
        self._clock = clock or SystemClock()
        self._position = 0
        self._first_end: int | None = None
        self._error: str | None = "has not been read yet"
        # Until which position somebody waits; None: until the end that the topic had at the first connection.
        self._waiters: list[tuple[int | None, asyncio.Future[None]]] = []
        self._scout: AIOKafkaConsumer | None = None
        self._lookup: asyncio.Task[int] | None = None
        self._lookup_turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    @property
    def is_current(self) -> bool:
        """Whether the topic has been read to the end it had at start, and the broker still answers."""
        return self._has_passed(None) and self._error is None

    @property
    def first_end(self) -> int:
        """The end that the topic had at the first connection; 0 before."""
        return self._first_end or 0

    @property
    def last_error(self) -> str | None:
        """What is wrong with the topic or its broker now, a sentence; None when all is well."""
        return self._error

    async def start(self) -> None:
        """Begin to read, in the background."""
        self._spawn(self._keep_following())

    async def stop(self) -> None:
        """Stop reading; whoever still waits gets a `BrokerError`."""
        self._is_stopped = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(BrokerError(self._stopped()))

    async def ready(self) -> None:
        """Return when the topic has been read to the end that it had at the first connection.

        Raises:
            BrokerError: the tail was stopped.
        """
        await self._passed(None)

    async def caught_up(self) -> None:
        """Return when the topic has been read past the end that it has now. Callers share one look-up of it.

        Raises:
            BrokerError: the tail was stopped.
        """
        self._refuse_when_stopped()
        if self._lookup is None:
            self._lookup = self._spawn(self._look_up())
        lookup = self._lookup
        try:
            end = await asyncio.shield(lookup)
        except asyncio.CancelledError:
            if lookup.cancelled():
                self._refuse_when_stopped()
            raise
        await self._passed(end)

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _has_passed(self, end: int | None) -> bool:
        end = self._first_end if end is None else end
        return end is not None and self._position >= end

    async def _passed(self, end: int | None) -> None:
        if self._has_passed(end):
            return
        self._refuse_when_stopped()
        waiter = (end, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            self._waiters.remove(waiter)

    def _wake_waiters(self) -> None:
        for end, waiter in self._waiters:
            if not waiter.done() and self._has_passed(end):
                waiter.set_result(None)

    def _refuse_when_stopped(self) -> None:
        if self._is_stopped:
            raise BrokerError(self._stopped())

    def _stopped(self) -> str:
        return f"topic {self._place.topic}: is no longer being read"

    async def _look_up(self) -> int:
        async with self._lookup_turn:
            # Whoever comes from here on has seen a later state of the topic, and needs a look-up of its own.
            self._lookup = None
            while True:
                try:
                    return await self._end()
                except (KafkaError, BrokerError) as error:
                    self._note_trouble(error)
                await self._clock.sleep(FIRST_PAUSE_SECONDS)

    async def _end(self) -> int:
        if self._scout is None:
            raise BrokerError(self._error or "is not connected")
        ends: dict[TopicPartition, int] = await self._scout.end_offsets([self._place])
        return ends[self._place]

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _keep_following(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            before = self._position
            try:
                await self._follow()
            except (KafkaError, BrokerError, OSError) as error:
                self._note_trouble(error)
            pause = FIRST_PAUSE_SECONDS if self._position > before else min(pause * 2, LONGEST_PAUSE_SECONDS)
            await self._clock.sleep(pause)

    async def _follow(self) -> None:
        reader, scout = self._consumer(), self._consumer()
        try:
            await _started(reader)
            await _started(scout)
            if self._place.topic not in await scout.topics():
                raise BrokerError(
                    "does not exist, or this user may not see it"
                )  # the same retry as for every other trouble
            reader.assign([self._place])
            reader.seek(self._place, self._position)
            self._scout = scout
            end = await self._end()
            self._first_end = end if self._first_end is None else self._first_end
            self._note_health()
            await self._read(reader)
        finally:
            self._scout = None
            await disconnect(reader)
            await disconnect(scout)

    async def _read(self, reader: AIOKafkaConsumer) -> None:
        probed_at = self._clock.now()
        while True:
            found = await reader.getmany(self._place, timeout_ms=POLL_MS, max_records=BATCH)
            for record in found.get(self._place, ()):
                self._position = record.offset + 1
                self._on_record(record)
            # Past what compaction took away and past control records too.
            self._position = await reader.position(self._place)
            self._wake_waiters()
            if found:
                await asyncio.sleep(0)
            elif self._clock.now() - probed_at >= PROBE_SECONDS:
                # A consumer hides that its broker is gone; a look-up doesn't.
                probed_at = self._clock.now()
                await self._probe()

    async def _probe(self) -> None:
        try:
            await self._end()
        except KafkaError as error:
            self._note_trouble(error)
        else:
            self._note_health()

    def _consumer(self) -> AIOKafkaConsumer:
        # Two of them read the topic: a broker answers one connection in order, and a look-up would wait behind a fetch.
        return AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            fetch_max_wait_ms=EMBEDDED_WAIT_MS if self._connection.embedded else KAFKA_WAIT_MS,
            # Whatever is in the log counts; the embedded broker's control records carry a wrong CRC.
            check_crcs=not self._connection.embedded,
            **self._connection.client_options(),
        )

    def _note_trouble(self, error: Exception) -> None:
        text = f"topic {self._place.topic}: {str(error) or type(error).__name__}"
        if text != self._error and not self._is_stopped:
            logger.warning("%s; trying again", text)
        self._error = text

    def _note_health(self) -> None:
        if self._error is not None:
            logger.info("topic %s: reading from offset %d", self._place.topic, self._position)
        self._error = None
        self._wake_waiters()

    def _spawn(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _started(consumer: AIOKafkaConsumer) -> None:
    """Start *consumer*, to the end even when cancelled: half-way, aiokafka leaves a connection behind."""
    starting = asyncio.ensure_future(consumer.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.gather(starting, return_exceptions=True)
        raise
