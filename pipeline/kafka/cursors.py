"""The fenced store of one partition's cursor rows (docs/design.md, Fenced cursor rows).

Opening starts a producer with `transactional_id = <app>.cursors.<partition>`. From then on Kafka refuses all writes of
the partition's former owner and aborts its open transaction. Only then are the rows read, so the former owner can't
change them any more. All rows that wait to be written go into one transaction.

    put ─▶ pending {key: row} ─▶ one transaction ─▶ confirmed
              only the newest row of a key is written; the futures of all its `put` calls are resolved
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)

from pipeline.core.errors import BrokerError, FencedError
from pipeline.core.model import Cursor, Row
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, is_broken, retrieve_errors, transaction_state
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.row_format import encode, read_row, read_topic_id
from pipeline.kafka.row_keys import KEEP_ALIVE_KEY, SOURCE_KEY
from pipeline.observability.instruments import LineLimit

logger = logging.getLogger(__name__)

FENCED_ERRORS: Final = (
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
)
"""After one of these errors the producer is unusable, and a new producer would fence the partition's current owner."""
RETRY_PAUSE_SECONDS: Final = 0.5
CLOSE_SECONDS: Final = 2.0
ABORT_SECONDS: Final = 1.0
REQUEST_TIMEOUT_MS: Final = 30_000
LATE_SECONDS: Final = 30.0
"""After this time without a commit, a warning says that rows are waiting. It is repeated when the wait has doubled."""
KEEP_ALIVE_SECONDS: Final = 12 * 3600.0
"""The longest time without a transaction.

Kafka forgets a transactional id that was unused for seven days (`transactional.id.expiration.ms`), and a partition
whose lanes are all live may need no rows for weeks.
"""


@dataclass(slots=True)
class _Group:
    """Rows to be committed together."""

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    waiters: list["asyncio.Future[None]"] = field(default_factory=list)

    def end(self, refusal: str | None = None) -> None:
        """Tell the waiters that the rows are durable, or why they will never become durable."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if refusal is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(FencedError(refusal))
                waiter.exception()  # retrieved, because asyncio would log the error of a row that no caller awaits


class KafkaRows:
    """The rows of one partition in `<app>.cursors`, of all source topics (topic_rows.py).

    Args:
        topic: `<app>.cursors`.
        partition: the partition number of the source topics and of `<app>.cursors`.
        on_written: called after each transaction with the number of its rows.
        keep_alive_seconds: see `KEEP_ALIVE_SECONDS`.
        late_seconds: see `LATE_SECONDS`.

    Attributes:
        topic_ids: the topic ids that are stored beside the rows, by key (row_keys.py).
        is_fenced: whether no more rows can be written, because another worker owns the partition, the producer is
            broken, or the code has a bug.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        partition: int,
        *,
        on_written: Callable[[int], None],
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
        late_seconds: float = LATE_SECONDS,
    ) -> None:
        self.topic_ids: dict[bytes, str | None] = {}
        self.is_fenced = False
        self._connection = connection
        self._tp = TopicPartition(topic, partition)
        self._on_written = on_written
        self._keep_alive_seconds = keep_alive_seconds
        self._late_seconds = late_seconds
        self._producer: AIOKafkaProducer | None = None
        self._group = _Group()
        self._wanted = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False
        self._lines = LineLimit()

    async def open(self) -> Mapping[bytes, Row]:
        """Fence the former owner, then load the rows; see `ports.RowStore.open`."""
        embedded = self._connection.embedded
        producer = AIOKafkaProducer(
            # The embedded broker neither fences nor hides uncommitted records, so rows are written without
            # transactions.
            transactional_id=None if embedded else f"{self._tp.topic}.{self._tp.partition}",
            acks="all",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._connection.client_options(),
        )
        self._producer = producer
        async with self._loading():
            await producer.start()
            rows = await self._load()
        self._loop = asyncio.get_running_loop()
        self._writer = self._loop.create_task(self._write_groups())
        return rows

    async def load(self) -> Mapping[bytes, Row]:
        """The current rows of an open store. Raises the errors of `open`."""
        async with self._loading():
            return await self._load()

    @asynccontextmanager
    async def _loading(self) -> AsyncIterator[None]:
        try:
            yield
        except FENCED_ERRORS:
            raise
        except (KafkaError, OSError) as error:
            raise BrokerError(f"rows of {self._tp} can't be loaded: {error}") from error

    async def _load(self) -> dict[bytes, Row]:
        consumer = AIOKafkaConsumer(
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            **self._connection.consumer_options(),
        )
        rows: dict[bytes, Row] = {}
        try:
            await consumer.start()
            tp = self._tp
            consumer.assign([tp])
            await consumer.seek_to_beginning(tp)
            end = (await consumer.end_offsets([tp]))[tp]
            # Transaction markers are never handed out, but the position moves past them.
            while await consumer.position(tp) < end:
                found = await consumer.getmany(tp, timeout_ms=200)
                for record in found.get(tp, ()):
                    self._take(rows, record.key, record.value)
        finally:
            await disconnect(consumer)
        return rows

    def _take(self, rows: dict[bytes, Row], key: bytes | None, value: bytes | None) -> None:
        if key is None:
            logger.warning("ignoring a record of %s without a key", self._tp)
        elif key.endswith(SOURCE_KEY):
            self.topic_ids[key] = read_topic_id(value)
        elif value is None:
            rows.pop(key, None)
        else:
            rows[key] = read_row(value)

    def put_topic_id(self, key: bytes, topic_id: str | None) -> "asyncio.Future[None]":
        """With the next transaction, write the id of the topic that the rows belong to, or delete it (None)."""
        self.topic_ids[key] = topic_id
        return self._join_group(key, None if topic_id is None else topic_id.encode())

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        """See `ports.RowStore.put`."""
        return self._join_group(key, None if cursor is None else encode(cursor))

    def _join_group(self, key: bytes, value: bytes | None) -> "asyncio.Future[None]":
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self.is_fenced:
            _Group(waiters=[waiter]).end(f"{self._tp} has another owner")
            return waiter
        self._group.rows[key] = value
        self._group.waiters.append(waiter)
        self._wanted.set()
        return waiter

    async def _write_groups(self) -> None:
        while not (self._closing and not self._group.rows):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._keep_alive_seconds):
                    await self._wanted.wait()
            if not (self._wanted.is_set() or self.is_fenced):
                self._group.rows[KEEP_ALIVE_KEY] = None
            self._wanted.clear()
            group, self._group = self._group, _Group()
            self._warn_in(self._late_seconds, self._late_seconds)
            try:
                if group.rows:
                    await self._write(group)
            finally:
                self._warning.cancel()
                for waiter in group.waiters:
                    waiter.cancel()  # no effect on futures that are done

    def _warn_in(self, seconds: float, waited: float) -> None:
        self._warning = self._loop.call_later(seconds, self._warn, waited)

    def _warn(self, waited: float) -> None:
        logger.warning(
            "rows of %s have been waiting %g s for their commit (producer: %s); until then, at-most-once sends nothing "
            "new, and slow subscriptions delay the commits of the partition",
            self._tp,
            waited,
            "closed" if self._producer is None else transaction_state(self._producer),
        )
        self._warn_in(waited, 2 * waited)

    async def _write(self, group: _Group) -> None:
        """Commit a group. Try again until the commit succeeds, or can no longer succeed."""
        while True:
            try:
                await self._commit(group.rows)
            except Exception as error:  # noqa: BLE001 - a bug must not end the writer either: lanes would wait forever
                if self._is_final(error):
                    self._fence(group, error)
                    return
                if self._lines.passes(str(error)) is not None:
                    logger.warning("could not commit rows of %s; trying again: %s", self._tp, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            else:
                self._on_written(len(group.rows))
                group.end()
                return

    def _is_final(self, error: Exception) -> bool:
        """Whether no more rows can be written after this *error*."""
        if isinstance(error, FENCED_ERRORS):
            return True
        if isinstance(error, KafkaError | OSError):
            return self._producer is not None and is_broken(self._producer)
        logger.error("rows of %s can't be written", self._tp, exc_info=error)
        return True

    async def _commit(self, rows: Mapping[bytes, bytes | None]) -> None:
        producer = self._producer
        if producer is None:
            raise RuntimeError("put() was called before open()")
        if self._connection.embedded:
            await self._send(producer, rows)
            return
        async with producer.transaction():
            try:
                await self._send(producer, rows)
            finally:
                retrieve_errors(producer)

    async def _send(self, producer: AIOKafkaProducer, rows: Mapping[bytes, bytes | None]) -> None:
        topic, partition = self._tp
        sent = [await producer.send(topic, value, key, partition=partition) for key, value in rows.items()]
        await asyncio.gather(*sent)

    def _fence(self, group: _Group, error: Exception) -> None:
        logger.warning("fenced: Kafka accepts no more rows of %s from this worker: %r", self._tp, error)
        self.is_fenced = True
        group.waiters += self._group.waiters
        self._group = _Group()
        group.end(f"Kafka accepts no more rows of {self._tp} from this worker: {error!r}")

    async def close(self) -> None:
        """Wait for the open transaction to end, cancel the waiting rows, disconnect."""
        self._closing = True
        self._wanted.set()
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.wait([writer], timeout=CLOSE_SECONDS)
            await _end(writer)
        for waiter in self._group.waiters:
            waiter.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            await disconnect(producer)


async def _end(writer: "asyncio.Task[None]") -> None:
    """Cancel the transaction, then the wait for its abort. A new owner's producer aborts the transaction anyway."""
    while not writer.done():
        writer.cancel()
        await asyncio.wait([writer], timeout=ABORT_SECONDS)
