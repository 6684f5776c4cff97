"""The fenced store of one partition's cursor rows (architecture section 3a, invariant I5).

Opening starts a producer with `transactional_id = <app>.cursors.<partition>`: Kafka then refuses every further write of
the partition's former owner and aborts what it had open. Only after that are the rows read, so nobody can still change
them. Rows wait for the next group commit: begin, send all, commit, resolve the waiters.

    put ─▶ pending {key: row} ─▶ one transaction ─▶ confirmed
              newest row of a key wins, all its waiters are resolved
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
)
from aiokafka.producer import sender
from aiokafka.producer.transaction_manager import TransactionState

from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.errors import BrokerError, FencedError
from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.disconnect import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.observability.instruments import LineLimit

logger = logging.getLogger(__name__)

FENCED_ERRORS: Final = (
    ProducerFenced,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
)
"""After these the producer can't go on, and a new one would fence whoever owns the partition now."""
RETRY_PAUSE_SECONDS: Final = 0.5
MARKER_PAUSE_SECONDS: Final = 0.003
LONGEST_MARKER_PAUSE_SECONDS: Final = 0.1
CLOSE_SECONDS: Final = 2.0
ABORT_SECONDS: Final = 1.0
REQUEST_TIMEOUT_MS: Final = 30_000
KEEP_ALIVE_SECONDS: Final = 12 * 3600.0
"""So often at least a transaction is made. Kafka forgets a transactional id that was not used for seven days
(`transactional.id.expiration.ms`), and the rows of a partition where nothing went wrong for so long with it."""
KEEP_ALIVE_KEY: Final = b"\xffkeep-alive"
"""No subscription has it, for it is not UTF-8; its value is always null, so compaction takes it away."""


class BeginSoon(sender.AddPartitionsToTxnHandler):  # type: ignore[misc]  # aiokafka has no types
    """Begins a transaction, and tries again while the coordinator still ends the last one: soon, then less often.

    That takes it a few milliseconds as a rule, and longer while a broker is away. aiokafka waits for 20 each time, most
    of the time that a claim takes at at-most-once; it has no option for it.
    """

    def handle_response(self, resp: Any) -> float | None:
        """As aiokafka's: how long to wait before it is tried again, None if it need not be."""
        pause: float | None = super().handle_response(resp)
        is_still_ending = pause == sender.BACKOFF_OVERRIDE
        tries = getattr(self._sender, "marker_tries", 0) if is_still_ending else 0
        self._sender.marker_tries = tries + is_still_ending
        return min(MARKER_PAUSE_SECONDS * float(2**tries), LONGEST_MARKER_PAUSE_SECONDS) if is_still_ending else pause


sender.AddPartitionsToTxnHandler = BeginSoon


def encode(cursor: Cursor) -> bytes:
    """The row's value: JSON, fields that say nothing left out."""
    row: dict[str, Any] = {"next": cursor.next, "status": cursor.status.value, "revision": cursor.revision}
    if cursor.attempt:
        row |= {"attempt": cursor.attempt, "firstAttemptAt": cursor.first_attempt_at, "notBefore": cursor.not_before}
        if cursor.error is not None:
            row["error"] = asdict(cursor.error)
    if cursor.event_ms is not None:
        row["eventMs"] = cursor.event_ms
    cause = cursor.cause
    if cause is not None:
        row["cause"] = {"kind": cause.kind, "message": cause.message, "offset": cause.offset, "at": cause.at}
        if cause.attempts is not None:
            row["cause"]["attempts"] = asdict(cause.attempts)
    return json.dumps(row, separators=(",", ":")).encode()


def decode(value: bytes) -> Cursor:
    """The inverse of `encode`. Fields it does not know are passed over, so that an older worker reads a newer row.

    Raises:
        ValueError: it is no row.
    """
    try:
        row = json.loads(value)
        cause = row.get("cause")
        return Cursor(
            next=int(row["next"]),
            status=Status(row["status"]),
            cause=None if cause is None else _cause(cause),
            attempt=int(row.get("attempt", 0)),
            first_attempt_at=row.get("firstAttemptAt"),
            not_before=float(row.get("notBefore") or 0.0),
            revision=int(row.get("revision", -1)),
            error=_error(row.get("error")),
            event_ms=None if row.get("eventMs") is None else int(row["eventMs"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a cursor row: {value[:100]!r}") from error


def _cause(cause: Mapping[str, Any]) -> Cause:
    found = cause.get("attempts")
    attempts = None if found is None else Attempts(int(found["count"]), float(found["since"]), _status(found))
    return Cause(cause["kind"], cause["message"], cause["offset"], cause["at"], attempts)


def _error(error: Mapping[str, Any] | None) -> FailedAttempt | None:
    return None if error is None else FailedAttempt(str(error["message"]), float(error["at"]), _status(error))


def _status(found: Mapping[str, Any]) -> int | None:
    status = found.get("status")
    return None if status is None else int(status)


@dataclass(slots=True)
class _Group:
    """Rows that are to be committed together."""

    rows: dict[bytes, bytes | None] = field(default_factory=dict)
    waiters: list["asyncio.Future[None]"] = field(default_factory=list)


class KafkaRows:
    """The rows of one partition in `<app>.cursors`.

    Args:
        connection: of the source's cluster.
        topic: `<app>.cursors`.
        partition: of the source, and of this topic.
        on_written: told how many rows each group commit has made durable.
        keep_alive_seconds: see `KEEP_ALIVE_SECONDS`.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        partition: int,
        *,
        on_written: Callable[[int], None],
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._connection = connection
        self._place = TopicPartition(topic, partition)
        self._on_written = on_written
        self._keep_alive_seconds = keep_alive_seconds
        self._producer: AIOKafkaProducer | None = None
        self._group = _Group()
        self._wanted = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._fenced = False
        self._closing = False
        self._lines = LineLimit()

    async def open(self) -> Mapping[bytes, Cursor]:
        """Fence the former owner, then load the rows; see `dispatcher.RowStore.open`."""
        embedded = self._connection.embedded
        producer = AIOKafkaProducer(
            # The mock cluster neither fences nor hides what isn't committed: there rows are written plainly.
            transactional_id=None if embedded else f"{self._place.topic}.{self._place.partition}",
            acks="all",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            **self._connection.client_options(),
        )
        self._producer = producer
        try:
            await producer.start()
            rows = await self._load()
        except FENCED_ERRORS:
            raise
        except (KafkaError, OSError) as error:
            raise BrokerError(f"rows of {self._place} can't be loaded: {error}") from error
        self._writer = asyncio.get_running_loop().create_task(self._write_groups())
        return rows

    async def _load(self) -> dict[bytes, Cursor]:
        consumer = AIOKafkaConsumer(
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            check_crcs=not self._connection.embedded,
            **self._connection.client_options(),
        )
        rows: dict[bytes, Cursor] = {}
        await consumer.start()
        try:
            place = self._place
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            # Markers of transactions are records that nobody hands out; the position passes over them.
            while await consumer.position(place) < end:
                found = await consumer.getmany(place, timeout_ms=200)
                for record in found.get(place, ()):
                    self._take(rows, record.key, record.value)
        finally:
            await disconnect(consumer)
        return rows

    def _take(self, rows: dict[bytes, Cursor], key: bytes, value: bytes | None) -> None:
        if value is None:
            rows.pop(key, None)
            return
        try:
            rows[key] = decode(value)
        except ValueError:
            # Without its row the lane begins at the committed offset: that is what a row of unknown kind is worth.
            logger.exception("row %r of %s can't be read", key, self._place)

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        """See `partition.Rows.put`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._fenced:
            waiter.set_exception(FencedError(f"{self._place} has another owner"))
            # Whoever does not wait for a row learns of the fencing from the row store itself.
            waiter.exception()
            return waiter
        self._group.rows[key] = None if cursor is None else encode(cursor)
        self._group.waiters.append(waiter)
        self._wanted.set()
        return waiter

    async def _write_groups(self) -> None:
        while not (self._closing and not self._group.rows):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._keep_alive_seconds):
                    await self._wanted.wait()
            if not (self._wanted.is_set() or self._fenced):
                self._group.rows[KEEP_ALIVE_KEY] = None
            self._wanted.clear()
            group, self._group = self._group, _Group()
            try:
                if group.rows:
                    await self._write(group)
            finally:
                for waiter in group.waiters:
                    waiter.cancel()  # those that were cut off; the others are done

    async def _write(self, group: _Group) -> None:
        while True:
            try:
                await self._commit(group.rows)
            except FENCED_ERRORS as error:
                self._fence(group, error)
                return
            except (KafkaError, OSError) as error:
                if self._is_broken:
                    self._fence(group, error)
                    return
                if self._lines.passes(str(error)) is not None:
                    logger.warning("rows of %s are not committed yet: %s", self._place, error)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)
            else:
                self._on_written(len(group.rows))
                for waiter in group.waiters:
                    if not waiter.done():
                        waiter.set_result(None)
                return

    @property
    def _is_broken(self) -> bool:
        """Whether the producer can begin no transaction any more, whatever error brought it there."""
        transactions = None if self._producer is None else self._producer._txn_manager  # noqa: SLF001 - aiokafka tells nowhere else
        return transactions is not None and transactions.state is not TransactionState.READY

    async def _commit(self, rows: Mapping[bytes, bytes | None]) -> None:
        producer = self._producer
        if producer is None:
            raise RuntimeError("rows were put before the store was opened")
        if self._connection.embedded:
            await self._send(producer, rows)
            return
        async with producer.transaction():
            await self._send(producer, rows)

    async def _send(self, producer: AIOKafkaProducer, rows: Mapping[bytes, bytes | None]) -> None:
        topic, partition = self._place
        sent = [await producer.send(topic, value, key, partition=partition) for key, value in rows.items()]
        await asyncio.gather(*sent)

    def _fence(self, group: _Group, error: Exception) -> None:
        logger.warning("%s takes no more rows from here: %r", self._place, error)
        self._fenced = True
        group.waiters += self._group.waiters
        self._group = _Group()
        for waiter in group.waiters:
            if not waiter.done():
                waiter.set_exception(FencedError(f"{self._place} takes no more rows from here: {error!r}"))
                waiter.exception()

    async def close(self) -> None:
        """Let the transaction under way end, cancel the rows that wait, disconnect."""
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
    """Cancel it: its transaction first, then the wait for the broker to abort that, which a new owner does as well."""
    while not writer.done():
        writer.cancel()
        await asyncio.wait([writer], timeout=ABORT_SECONDS)
