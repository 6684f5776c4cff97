"""The whole core with fakes that a test controls: one worker, one partition of one topic."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pipeline.core.addressed import AddressedMatching, is_addressed
from pipeline.core.clock import steady_now
from pipeline.core.concurrency import Slots
from pipeline.core.delivery import Delivery, never_addressed
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.lane import Lane
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import PlainEvent
from pipeline.core.observer import Observer
from pipeline.core.outcome import Delivered, Outcome
from pipeline.core.partition import Partition
from pipeline.core.ports import LaneLimits
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.rate_limit import RateLimits
from pipeline.core.sources import Sources
from pipeline.core.subscription import DesiredStatus, Jitter, Qos, RetryPolicy, Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.default_partition import default_partition
from pipeline.observability.reporter import WorkerReporter
from pipeline.observability.telemetry import Telemetry
from tests.support.fakes import (
    ANY_LOG,
    TOPIC,
    AskEachFilter,
    HandLease,
    MemoryReader,
    MemoryRegistry,
    MemoryRows,
    RecordingDeadLetters,
    RowTopic,
    ScriptedSend,
    SourceLog,
    VirtualClock,
)
from tests.support.virtual_time import settle

LIMITS = LaneLimits(events=4, bytes=1_000_000, hold_seconds=5.0)
QUICK = RetryPolicy(max_attempts=2, initial_delay_seconds=1.0, max_delay_seconds=4.0, jitter=Jitter.FULL)
SLOW = RetryPolicy(max_attempts=2, initial_delay_seconds=20.0, max_delay_seconds=60.0, jitter=Jitter.FULL)
OK = Delivered(200)
IDS = WebhookIds((b"key",))
"""Makes the seals of addressed events."""


def subscription(name: str = "s", qos: Qos = Qos.AT_LEAST_ONCE, **changes: Any) -> Subscription:
    """A subscription with quick retries, and with concurrency 3 if its level allows that."""
    plain = Subscription(
        id=name,
        revision=0,
        url="https://receiver.example/hook",
        qos=qos,
        retry=QUICK,
        concurrency=1 if qos.is_ordered else 3,
    )
    return replace(plain, **changes)


class Core:
    """A worker. Its durable state (`log`, `rows`, `committed`, changes of the registry) can be passed to the next
    worker."""

    def __init__(
        self,
        *subscriptions: Subscription,
        before: "Core | None" = None,
        limits: LaneLimits = LIMITS,
        dead_letters: bool = False,
        slots: int = 8,
        worker_bytes: int = 10_000_000,
        chance: Callable[[], float] = lambda: 1.0,
        matches: bool = False,
        observed_by: Callable[[Telemetry], Observer] = lambda telemetry: telemetry,
    ) -> None:
        self.log: SourceLog = SourceLog() if before is None else before.log
        self.row_topic: RowTopic = RowTopic() if before is None else before.row_topic
        self.committed: int = 0 if before is None else before.committed
        self.ahead: int = 0 if before is None else before.ahead
        self.begun_to: int = 0 if before is None else before.begun_to
        self.registry: MemoryRegistry = MemoryRegistry(None if before is None else before.registry.changes)
        self.send = ScriptedSend()
        self.letters = RecordingDeadLetters()
        self.reader = MemoryReader(self.log)
        self.telemetry = Telemetry()
        self.slots = Slots(slots)
        self.lease = HandLease()
        self.position = self.committed
        self.closed: list[int] = []
        self.topic_id: str | None = None
        for each in subscriptions:
            self.publish(each)
        matching = AddressedMatching(AskEachFilter(), IDS, lambda *_: self.topic_id) if matches else None
        self.dispatcher = Dispatcher(
            TOPIC,
            deliver=Delivery(
                send=self.send,
                dead_letters=self.letters if dead_letters else None,
                caught_up=self.registry.caught_up,
                slots=self.slots,
                lease=self.lease,
                clock=VirtualClock(),
                observer=observed_by(self.telemetry),
                rate_limits=RateLimits(),
                chance=chance,
                steady=steady_now,
                is_addressed=is_addressed if matches else never_addressed,
            ),
            rows_of=self._rows_of,
            registry=self.registry,
            reader=self.reader,
            limits=limits,
            memory=QueueMemory(worker_bytes),
            on_closed=self.closed.append,
            matching=matching,
        )
        self.sources = Sources([self.dispatcher], matching)

    def _rows_of(self, _number: int, log: LogBounds) -> MemoryRows:
        self.rows = MemoryRows(self.row_topic, log)
        return self.rows

    # ----------------------------------------------------------- from outside

    def publish(self, each: Subscription) -> Subscription:
        """Publish the next revision. The worker reads it when `hear` is called."""
        revision = replace(each, revision=len(self.registry.changes))
        self.registry.publish(each.id, revision)
        return revision

    def delete(self, name: str) -> None:
        self.registry.publish(name, None)

    def hear(self) -> None:
        """Let the worker read all published records, one by one."""
        while found := self.registry.read(1):
            for name, each in found:
                self.sources.on_subscription(name, each)

    async def revise(self, each: Subscription) -> Subscription:
        """Publish a revision, and let the worker read it and act on it."""
        revision = self.publish(each)
        self.hear()
        await settle()
        return revision

    async def open(self, log: LogBounds = ANY_LOG) -> "Core":
        """Open the partition at the committed offset. Rows are compared with *log*."""
        self.hear()
        bounds = replace(log, ahead=self.ahead, begun_to=self.begun_to)
        await self.dispatcher.open({0: self.committed}, {0: bounds})
        await settle()
        return self

    def produce(self, count: int = 1, name: str = "s") -> list[PlainEvent]:
        return [self.log.append(name.encode()) for _ in range(count)]

    def address(self, addressee: str, key: str = "order-1", ids: WebhookIds = IDS) -> PlainEvent:
        """Produce an event that is addressed to one subscription."""
        plain = PlainEvent(TOPIC, 0, 0, key.encode(), b"{}")
        return self.log.append(plain.key, plain.value, ids.address(plain, addressee))

    async def stream(self, count: int = 1, name: str = "s") -> None:
        """Produce *count* events, and dispatch them as one batch."""
        await self.dispatch(self.produce(count, name))

    async def dispatch(self, batch: Sequence[PlainEvent]) -> None:
        self.position = batch[-1].offset + 1
        self.dispatcher.dispatch(0, batch)
        await settle()

    async def answer(self, offset: int, outcome: Outcome = OK) -> None:
        """Answer the pending request of the event at *offset*."""
        [attempt] = [attempt for attempt in self.send.pending if attempt.offset == offset]
        attempt.answer(outcome)
        await settle()

    async def land(self, count: int | None = None) -> None:
        """Let the broker confirm the first *count* waiting rows, by default all."""
        self.rows.land(count)
        await settle()

    async def read(self, count: int = 100) -> None:
        """Let the log reader read up to *count* records once."""
        self.reader.serve(count)
        await settle()

    async def checkpoint(self) -> None:
        self.dispatcher.checkpoint()
        await settle()

    def commit(self) -> None:
        offsets = self.dispatcher.offsets_to_commit()
        if offsets:
            self.committed, self.ahead = offsets[0], self.dispatcher.ahead_of(0, offsets[0])
            self.begun_to = self.dispatcher.begun_to(0) or 0
        self.dispatcher.committed(offsets, {0: self.begun_to})

    async def stop(self) -> None:
        """Stop the worker cleanly. If it waits for rows, the test has to call `land` during the stop."""
        self.committed = (await self.dispatcher.drain([0], 8.0))[0]
        self.rows.store()
        await self.dispatcher.close([0])

    async def end(self) -> None:
        """Close the partition, which ends all tasks that are still running."""
        await self.dispatcher.close([0])

    # ----------------------------------------------------------- what is seen

    @property
    def partition(self) -> Partition:
        [partition] = self.dispatcher.partitions()
        return partition

    def lane(self, name: str = "s") -> Lane:
        return self.partition.lanes[name.encode()]

    @property
    def pending(self) -> list[int]:
        """The offsets of the requests without an answer."""
        return [attempt.offset for attempt in self.send.pending]

    @property
    def committable(self) -> int:
        """The offset that the window allows the worker to commit."""
        return self.partition.window.committable


def paused(each: Subscription) -> Subscription:
    return replace(each, desired_status=DesiredStatus.PAUSED, resume_from=None)


def resumed(each: Subscription) -> Subscription:
    return replace(each, desired_status=DesiredStatus.DELIVER, resume_from=None)


def reporter_of(core: Core, counts: dict[str, int] | None = None) -> WorkerReporter:
    """A reporter of the worker. It knows no state outside the core, except the numbers of partitions."""
    return WorkerReporter(
        "webhooks",
        core.sources,
        readiness=lambda: None,
        end_of=lambda *_: None,
        name=lambda: "here:6066",
        known=core.registry,
        partition_counts=lambda: counts or {core.partition.topic: 4},
        default_partition=default_partition,
        warning_of=lambda _: None,
    )
