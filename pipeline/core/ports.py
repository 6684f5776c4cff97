"""The interfaces between lane, partition, dispatcher and worker, and the interfaces of the core to Kafka."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.clock import Clock
from pipeline.core.delivery import Delivery
from pipeline.core.model import Cursor, Event, Row
from pipeline.core.observer import Observer
from pipeline.core.probing import ProbeGate
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.subscription import Subscription
from pipeline.core.window import Window


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How much a lane may hold.

    Attributes:
        events: the number of events in the queue.
        bytes: the bytes in the queue, as `queue_memory.size_of` counts them.
        hold_seconds: how long an event may hold back the partition's committed offset. A lane that sends one event at a
            time falls behind if its event has to wait at least this long, and reads the event again when it is due.
        claim_events: with at-most-once, how many events one row claims. A crash may lose this many events of each lane.
    """

    events: int
    bytes: int
    hold_seconds: float
    claim_events: int = 1


class LaneServices(Protocol):
    """The services that all lanes of a worker share."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def observer(self) -> Observer:
        """Gets reports of settlements and losses."""

    @property
    def limits(self) -> LaneLimits:
        """The bounds of each lane."""

    @property
    def probes(self) -> ProbeGate:
        """Limits the probes under way."""

    def chance(self) -> float:
        """A random number from 0 to 1, for jitter."""

    @property
    def memory(self) -> QueueMemory:
        """Counts the bytes in all queues."""

    @property
    def matching(self) -> "Matching | None":
        """Finds the subscriptions that an event matches; None with `routing: key`."""


class RowWriter(Protocol):
    """Writes the cursor rows of lanes (lane_rows.py)."""

    def write(self, key: bytes) -> "asyncio.Future[None]":
        """Write the lane's row with the next transaction. The future is done when the broker has confirmed it."""

    def mark_stale(self, key: bytes) -> None:
        """Remember that the lane's row is out of date.

        The next checkpoint writes or deletes it if necessary. If the cursor has moved far since the last row, the row
        is written at once.
        """

    def uncounted(self, key: bytes, offset: int) -> None:
        """Record that the event at *offset* waits in the log, and that the lane's row does not count it."""


class Home(Protocol):
    """The part of a partition that its lanes need (core/partition.py)."""

    @property
    def topic(self) -> str:
        """The source topic."""

    @property
    def number(self) -> int:
        """The number of the partition."""

    @property
    def dispatched_to(self) -> int:
        """The offset after the last one that was dispatched to the lanes."""

    @property
    def is_draining(self) -> bool:
        """Whether the partition is being given back: begin nothing new."""

    @property
    def window(self) -> Window:
        """The window, to which lanes add offsets."""

    def settle(self, offset: int) -> None:
        """Settle the event at the offset, which the window holds."""

    def let_go(self, offset: int) -> None:
        """Let the window release the offset, because a durable row keeps its event."""

    def wants_events(self, key: bytes) -> None:
        """Read the log for the lane, which is behind and has room."""

    def start_runner(self, key: bytes) -> None:
        """Start another runner for the lane, as a task of the partition."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to read the log.

    Attributes:
        start: the offset to read from.
        keys: the keys of the wanted events, b"" for events without a key; None for all events. Events with other keys
            may be left out.
    """

    start: int
    keys: frozenset[bytes] | None


class Behind(Protocol):
    """A partition with lanes that are behind (core/partition.py)."""

    @property
    def number(self) -> int:
        """The number of the partition."""

    @property
    def is_streaming(self) -> bool:
        """Whether the stream has brought events lately, to any partition of the worker."""

    def wanted(self) -> Wanted | None:
        """The next stretch of the log to read; None if no lane has room."""

    def feed(self, wanted: Wanted, end: int, events: Sequence[Event]) -> None:
        """Take the wanted events up to *end*. *events* may also contain other events."""

    def log_begins_at(self, offset: int) -> None:
        """Skip to *offset*: everything before it is deleted."""


class Registry(Protocol):
    """The known subscriptions (subscriptions/registry.py)."""

    def get(self, subscription_id: str) -> Subscription | None:
        """The newest revision of a subscription; None if there is no such subscription."""

    def all(self) -> Sequence[Subscription]:
        """Every subscription."""

    @property
    def read_to(self) -> int:
        """All records before this revision have been read."""

    async def ready(self) -> None:
        """Return when the topic has been read up to the end that it had when this worker started."""

    async def caught_up(self) -> None:
        """Return when the topic has been read up to the end that it had at the time of the call."""


class Matching(Protocol):
    """Finds the subscriptions that an event matches, with `routing: match` (matching.py)."""

    def update(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Apply a new revision of a subscription; None if it was deleted."""

    def keys(self, event: Event, among: Collection[bytes] | None = None) -> Sequence[bytes]:
        """The ids, in UTF-8, of the subscriptions that *event* matches; with *among*, only of these."""


class Reader(Protocol):
    """Reads the log again for lanes that are behind (kafka/log_reader.py)."""

    def wake(self, partition: Behind) -> None:
        """Record that a lane of the partition wants events."""

    async def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        """The offset of the first event whose timestamp is at or after *timestamp_ms*; None if there is none."""

    async def end_of(self, partition: int) -> int:
        """The end of the part of the log that may be read."""

    async def count(self, partition: int, key: bytes, start: int, end: int, matching: Matching | None) -> int:
        """The number of a subscription's events from *start* up to *end*; *matching* is None with `routing: key`."""

    def forget(self, partition: Behind) -> None:
        """Read no more of a partition that is closed."""


class PartitionServices(LaneServices, Protocol):
    """The services that all partitions of a source topic share (core/dispatcher.py)."""

    @property
    def topic(self) -> str:
        """The source topic."""

    @property
    def deliver(self) -> Delivery:
        """The steps of a delivery."""

    @property
    def registry(self) -> Registry:
        """The subscriptions."""

    @property
    def reader(self) -> Reader:
        """Reads the log again."""

    @property
    def is_streaming(self) -> bool:
        """Whether the stream has brought events lately, to any partition of the worker."""

    def dispatch(self, number: int, events: Sequence[Event]) -> None:
        """Dispatch events that the partition has kept back."""

    def lost(self, partition: Behind) -> None:
        """Close the partition, because Kafka has refused one of its rows: another worker owns it."""

    def pause(self, number: int) -> None:
        """Pause the partition's stream."""

    def resume(self, number: int) -> None:
        """Resume the partition's stream."""


class RowStore(Protocol):
    """The fenced store of one partition's cursor rows (kafka/cursors.py).

    It is opened before the partition, and closed after it. Each row is stored with the id of the source topic.
    """

    async def open(self) -> Mapping[bytes, Row]:
        """Fence the former owner, then load the rows.

        Raises:
            FencedError: a newer owner has fenced this worker.
            BrokerError: a broker does not answer, or refuses the request.
        """

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        """Write a row, or delete it (None), with the next transaction.

        The future of a former owner raises FencedError.
        """

    async def close(self) -> None:
        """Disconnect and cancel the waiting rows."""


class Flow(Protocol):
    """Pauses the stream of single partitions (runtime/consumer.py)."""

    def pause_source(self, topic: str, number: int) -> None:
        """Dispatch no more events of the partition for now."""

    def resume_source(self, topic: str, number: int) -> None:
        """Dispatch its events again."""
