"""Follows a topic with one partition from its beginning. Callers can wait until it has read the whole topic.

It uses a plain aiokafka consumer without a group, so every worker reads the whole topic. It retries all broker errors.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.clock import Clock, steady_now
from pipeline.core.errors import BrokerError
from pipeline.core.model import Event
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.following import (
    FIRST_PAUSE_SECONDS,
    LOOK_SECONDS,
    keep_following,
    lone_consumer,
    reason_of,
    require_topic,
)
from pipeline.kafka.internals import disconnect, started
from pipeline.kafka.records import AIOKafkaConsumer

logger = logging.getLogger(__name__)

POLL_MS: Final = 1_000
BATCH: Final = 100
"""Records per turn of the event loop: reading thousands of subscriptions at start-up must not block it."""

Result = TypeVar("Result")


class Tail:
    """The reader of one topic.

    Args:
        topic: a topic with one partition.
        on_record: called for every record, in log order; must not raise.

    Attributes:
        position: the offset after the last record that was read.
        last_error: the present problem with the topic or its broker, a sentence; None if there is none.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        on_record: Callable[[Event], None],
        clock: Clock,
    ) -> None:
        self.position = 0
        self.last_error: str | None = "has not been read yet"
        self._connection = connection
        self._tp = TopicPartition(topic, 0)
        self._on_record = on_record
        self._clock = clock
        self._first_end: int | None = None
        # The position that each waiter waits for; None: the end that the topic had at the first connection.
        self._waiters: list[tuple[int | None, asyncio.Future[None]]] = []
        self._scout: AIOKafkaConsumer | None = None
        self._lookup: asyncio.Task[int] | None = None
        self._lookup_turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_stopped = False

    @property
    def is_current(self) -> bool:
        """Whether the topic has been read up to the end that it had at the start, and the broker still answers."""
        return self._has_passed(None) and self.last_error is None

    @property
    def first_end(self) -> int:
        """The end that the topic had at the first connection; 0 before."""
        return self._first_end or 0

    async def start(self) -> None:
        """Begin to read, in the background."""
        self._spawn(keep_following(self._tp.topic, self._follow, self._note_trouble, self._clock))

    async def stop(self) -> None:
        """Stop reading. Callers that are still waiting get a `BrokerError`."""
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
        """Return when the topic has been read up to its current end. Concurrent callers share one lookup of the end.

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
        return end is not None and self.position >= end

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
        return f"topic {self._tp.topic}: is no longer being read"

    async def _look_up(self) -> int:
        async with self._lookup_turn:
            # Later callers may have seen a later state of the topic, so they can't share this lookup.
            self._lookup = None
            while True:
                try:
                    return await self._end()
                except (KafkaError, BrokerError) as error:
                    self._note_trouble(reason_of(error))
                await self._clock.sleep(FIRST_PAUSE_SECONDS)

    async def _end(self) -> int:
        if self._scout is None:
            raise BrokerError(self.last_error or "is not connected")
        ends: dict[TopicPartition, int] = await self._scout.end_offsets([self._tp])
        return ends[self._tp]

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        # A broker answers the requests of a connection in order. With one consumer, a lookup would wait for a fetch.
        reader, scout = lone_consumer(self._connection), lone_consumer(self._connection)
        try:
            await started(reader)
            await started(scout)
            await require_topic(scout, self._tp.topic)
            reader.assign([self._tp])
            reader.seek(self._tp, self.position)
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
        probed_at = steady_now()
        while True:
            found = await reader.getmany(self._tp, timeout_ms=POLL_MS, max_records=BATCH)
            for record in found.get(self._tp, ()):
                self.position = record.offset + 1
                self._on_record(record)
            # The position also moves past compacted records and transaction markers.
            self.position = await reader.position(self._tp)
            self._wake_waiters()
            if found:
                await asyncio.sleep(0)
            elif steady_now() - probed_at >= LOOK_SECONDS:
                # Only a lookup shows that the broker is gone; a consumer does not report this.
                probed_at = steady_now()
                await self._probe()

    async def _probe(self) -> None:
        try:
            await self._end()
        except KafkaError as error:
            self._note_trouble(reason_of(error))
        else:
            self._note_health()

    def _note_trouble(self, why: str) -> None:
        text = f"topic {self._tp.topic}: {why}"
        if text != self.last_error and not self._is_stopped:
            logger.warning("%s; trying again", text)
        self.last_error = text

    def _note_health(self) -> None:
        if self.last_error is not None:
            logger.info("topic %s: reading from offset %d", self._tp.topic, self.position)
        self.last_error = None
        self._wake_waiters()

    def _spawn(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
