"""Writes the results of `AttemptRecorder` to `<app>.attempts`, five times a second. No delivery waits for it.

The log has one idempotent producer without transactions. While the topic is missing or can't be written, results are
dropped and counted. The number of dropped results is written to the log as soon as writing works again.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.cluster.attempt_recorder import AttemptRecorder
from pipeline.cluster.attempts import SESSION_KEY, LogMode, Results, Session, encode
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.clock import Clock, steady_now
from pipeline.core.errors import BrokerError
from pipeline.core.observer import Observer
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, start_or_disconnect
from pipeline.kafka.topics import attempts_topic, count_partitions
from pipeline.observability.telemetry import Telemetry

FLUSH_SECONDS: Final = 0.2
SESSION_SECONDS: Final = 30.0
"""How often a worker records that it is logging."""
RETRY_SECONDS: Final = 5.0
"""The pause after an error. Results during the pause are dropped."""
MOST_UNCONFIRMED_BYTES: Final = 8 * 1024 * 1024
"""If this many bytes are unconfirmed, further results stay in the recorder, whose memory is bounded."""
BATCH_BYTES: Final = 256 * 1024
REQUEST_TIMEOUT_MS: Final = 20_000
CLOSE_SECONDS: Final = 3.0


class AttemptLog:
    """The attempt log of a worker.

    Args:
        topic: `<app>.attempts`.
        recorder: records the results.
        worker: the name of this process in the log.
        on_dropped: called with the number of results that were not written, and why.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        recorder: AttemptRecorder,
        *,
        mode: LogMode,
        worker: str,
        clock: Clock,
        on_dropped: Callable[[int, str], None],
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._recorder = recorder
        self._mode = mode
        self._worker = worker
        self._clock = clock
        self._on_dropped = on_dropped
        self._since = clock.now()
        self._producer: AIOKafkaProducer | None = None
        self._partitions = 0
        self._unconfirmed = 0
        self._written: set[int] = set()
        self._session_at = 0.0
        self._missing = 0
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to write results in the background."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Write the remaining results and the record that this worker has ended, and disconnect."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._flush()
                if self._producer is not None:
                    await self._producer.flush()
                    if self._error is None:
                        await self._say(self._producer, is_closed=True)
        except (KafkaError, OSError, BrokerError) as error:  # a TimeoutError is an OSError
            self._error = error
        self._discard(self._error or BrokerError("the worker is stopping"))
        await self._disconnect()

    async def _keep(self) -> None:
        while True:
            await self._clock.sleep(FLUSH_SECONDS)
            try:
                await self._flush()
            except Exception as error:  # noqa: BLE001 - aiokafka raises AssertionError if the topic lacks the partition
                self._discard(error)
                await self._disconnect()
                await self._clock.sleep(RETRY_SECONDS)

    async def _flush(self) -> None:
        if self._error is not None:
            # A refused batch leaves a gap in the producer's sequence numbers, after which the broker refuses all later
            # batches.
            error, self._error = self._error, None
            raise error
        if self._unconfirmed < MOST_UNCONFIRMED_BYTES:
            await self._write(await self._started())
        self._report("the brokers don't confirm in time")

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            # Writing to a missing topic would make the broker create it with its defaults.
            self._partitions = await count_partitions(self._connection, self._topic)
            producer = AIOKafkaProducer(
                acks="all",
                enable_idempotence=not self._connection.embedded,
                compression_type="zstd",
                linger_ms=10,
                max_batch_size=BATCH_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                **self._connection.client_options(),
            )
            await start_or_disconnect(producer)
            self._producer = producer
        return self._producer

    async def _write(self, producer: AIOKafkaProducer) -> None:
        taken = self._recorder.take()
        try:
            await self._say_if_due(producer, {self._place_of(results) for _, results in taken})
            while taken:
                key, results = taken[-1]
                value = encode(results)
                sent = await self._send(producer, key, value, self._place_of(results), results.at)
                taken.pop()
                self._unconfirmed += len(value)
                sent.add_done_callback(partial(self._confirmed, results, len(value)))
        finally:
            for _, results in taken:
                self._recorder.lose(results)

    def _place_of(self, results: Results) -> int:
        return results.partition % self._partitions

    async def _send(
        self, producer: AIOKafkaProducer, key: bytes, value: bytes, place: int, at: float
    ) -> "asyncio.Future[Any]":
        sent: asyncio.Future[Any] = await producer.send(
            self._topic, value, key=key, partition=place, timestamp_ms=int(at * 1000)
        )
        return sent

    async def _say_if_due(self, producer: AIOKafkaProducer, places: set[int]) -> None:
        if steady_now() - self._session_at >= SESSION_SECONDS or not self._written >= places:
            self._written |= places
            self._session_at = steady_now()
            await self._say(producer)

    async def _say(self, producer: AIOKafkaProducer, *, is_closed: bool = False) -> None:
        now = self._clock.now()
        value = encode(Session(self._worker, now, self._since, self._mode, is_closed))
        for place in self._written:
            sent = await self._send(producer, SESSION_KEY, value, place, now)
            sent.add_done_callback(partial(self._confirmed, None, 0))

    def _confirmed(self, results: Results | None, size: int, sent: "asyncio.Future[Any]") -> None:
        self._unconfirmed -= size
        error = asyncio.CancelledError() if sent.cancelled() else sent.exception()
        if error is None:
            return
        if results is not None:
            self._recorder.lose(results)
        self._error = error if isinstance(error, Exception) else BrokerError("the write was cancelled")

    def _discard(self, error: Exception) -> None:
        """Drop the results to free their memory for new ones."""
        for _, results in self._recorder.take():
            self._recorder.lose(results)
        self._report(str(error) or repr(error))

    def _report(self, why: str) -> None:
        missing = self._recorder.missing
        if missing > self._missing:
            self._on_dropped(missing - self._missing, why)
            self._missing = missing

    async def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        self._written.clear()
        if producer is not None:
            await disconnect(producer)


def attempt_log_of(
    settings: Settings, definition: Definition, telemetry: Telemetry, clock: Clock
) -> tuple[AttemptLog | None, Observer]:
    """The attempt log (None if it is switched off), and the observer to which the core reports."""
    if settings.attempt_log == "off":
        return None, telemetry
    # Each process gets its own name, so that the log shows which process was killed.
    worker = f"{socket.gethostname()}:{settings.web_port}#{secrets.token_hex(4)}"
    source, mode = definition.source, settings.attempt_log
    recorder = AttemptRecorder(telemetry, settings.webhook_ids, worker=worker, mode=mode, clock=clock)
    log = AttemptLog(
        source.connection,
        attempts_topic(settings.app),
        recorder,
        mode=mode,
        worker=worker,
        clock=clock,
        on_dropped=telemetry.attempt_log_dropped,
    )
    return log, recorder
