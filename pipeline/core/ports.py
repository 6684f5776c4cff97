"""What the core asks of others: a lane of its partition, a partition of its worker, a worker of Kafka."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.clock import Clock
from pipeline.core.delivery import Delivery
from pipeline.core.model import Cursor, Event
from pipeline.core.observer import Observer
from pipeline.core.probing import ProbeGate
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.rows import Row
from pipeline.core.subscription import Filter, Subscription
from pipeline.core.window import Window


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How much a lane may hold.

    Attributes:
        events: in the queue.
        bytes: in the queue, as `queue_memory.size_of` counts them.
        hold_seconds: how long an event may keep the partition's committed offset back. A wait at least this long is
            spent outside of memory: a lane that sends one event at a time goes behind, and reads the event again when
            it is due.
        claim_events: at-most-once: how many events one row claims. A crash loses no more of a lane.
    """

    events: int
    bytes: int
    hold_seconds: float
    claim_events: int = 1


class LaneServices(Protocol):
    """What all lanes of a worker share."""

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def telemetry(self) -> Observer:
        """What is told of settlements and losses."""
        ...

    @property
    def limits(self) -> LaneLimits:
        """The bounds of each lane."""
        ...

    @property
    def probes(self) -> ProbeGate:
        """Bounds the probes that are under way."""
        ...

    def chance(self) -> float:
        """A number from 0 to 1, drawn anew: for jitter."""
        ...

    @property
    def memory(self) -> QueueMemory:
        """What all queues take."""
        ...

    @property
    def matching(self) -> "Matching | None":
        """Says whose an event is; None with `routing: key`: its key does."""
        ...


class RowWriter(Protocol):
    """Writes the cursor rows of lanes (lane_rows.py)."""

    def write(self, key: bytes) -> "asyncio.Future[None]":
        """The lane's cursor row joins the next group commit; done when the broker has confirmed it."""
        ...

    def note(self, key: bytes) -> None:
        """The lane's row is out of date.

        The next checkpoint writes or deletes it, if that is needed. A lane that has come far since its last row writes
        it at once.
        """
        ...

    def uncounted(self, key: bytes, offset: int) -> None:
        """An event has come that waits in the log, and that the lane's row does not count."""
        ...


class Home(Protocol):
    """What a lane needs of its partition (core/partition.py)."""

    @property
    def topic(self) -> str:
        """The source topic."""
        ...

    @property
    def number(self) -> int:
        """Of the source topic's partition."""
        ...

    @property
    def dispatched(self) -> int:
        """The offset after the last one that was dispatched to the lanes."""
        ...

    @property
    def is_draining(self) -> bool:
        """The partition is being given back: begin nothing new."""
        ...

    @property
    def window(self) -> Window:
        """Lanes add the offsets that it has to hold."""
        ...

    def settle(self, offset: int) -> None:
        """The event at the offset is done, and the window held it."""
        ...

    def let_go(self, offset: int) -> None:
        """A durable row keeps the event at the offset: the window need not hold it any more."""
        ...

    def wants_events(self, key: bytes) -> None:
        """The lane is behind and has room: read the log for it."""
        ...

    def start_runner(self, key: bytes) -> None:
        """One more runner carries events of the lane, as a task of the partition."""
        ...


class Rows(Protocol):
    """The fenced store of one partition's cursor rows (kafka/cursors.py)."""

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        """Join the next group commit; None deletes the row. The future fails with FencedError for a former owner."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted of the log.

    Attributes:
        start: the offset to read from.
        keys: whose events; b"" is for those without a key. All others can be left out. None: nothing can.
    """

    start: int
    keys: frozenset[bytes] | None


class Behind(Protocol):
    """A partition some of whose lanes are behind (core/partition.py)."""

    @property
    def number(self) -> int:
        """Of the source topic's partition."""
        ...

    @property
    def is_streaming(self) -> bool:
        """Whether the stream has brought events lately, to any partition of the worker."""
        ...

    def wanted(self) -> Wanted | None:
        """Where it wants to be read next, and for whom; None if no lane has room."""
        ...

    def feed(self, wanted: Wanted, end: int, events: Sequence[Event]) -> None:
        """The events that are wanted of its log, from the wanted offset up to *end*; others may be among them."""
        ...

    def log_begins_at(self, offset: int) -> None:
        """Everything before *offset* is deleted."""
        ...


class Directory(Protocol):
    """What is known of subscriptions (subscriptions/registry.py)."""

    def get(self, subscription_id: str) -> Subscription | None:
        """The subscription's newest revision, None if there is none."""
        ...


class Matching(Protocol):
    """Says which subscriptions want an event, with `routing: match` (matching.py)."""

    def update(self, subscription_id: str, subscription: Subscription | None) -> None:
        """A new revision, or None: it was deleted."""
        ...

    def keys(self, event: Event, among: Collection[bytes] | None = None) -> Sequence[bytes]:
        """The ids, in UTF-8, of the subscriptions that want *event*; with *among*, of those alone."""
        ...


class Reader(Protocol):
    """Reads the log again for lanes that are behind (kafka/log_reader.py)."""

    def wake(self, partition: Behind) -> None:
        """A lane of the partition wants events."""
        ...

    async def offset_at(self, partition: int, timestamp_ms: int) -> int | None:
        """The first offset whose time stamp is at or after *timestamp_ms*; None if there is none."""
        ...

    async def end_of(self, partition: int) -> int:
        """The end of the log, as far as it may be read."""
        ...

    async def count(self, partition: int, wanted: bytes | Filter, start: int, end: int) -> int:
        """How many events the log has from *start* up to *end* that have this key, or that this filter wants."""
        ...


class PartitionServices(LaneServices, Protocol):
    """What all partitions of a worker share (core/dispatcher.py)."""

    @property
    def topic(self) -> str:
        """The source topic."""
        ...

    @property
    def deliver(self) -> Delivery:
        """What attempts need."""
        ...

    @property
    def directory(self) -> Directory:
        """The subscriptions."""
        ...

    @property
    def reader(self) -> Reader:
        """Reads the log again."""
        ...

    @property
    def has_dead_letters(self) -> bool:
        """Whether there is a dead-letter topic."""
        ...

    @property
    def is_streaming(self) -> bool:
        """The stream has brought events to one of the partitions lately."""
        ...

    def dispatch(self, number: int, events: Sequence[Event]) -> None:
        """Dispatch events of a partition that it has kept back."""
        ...

    def lost(self, partition: Behind) -> None:
        """Another worker owns the partition: Kafka has refused a row of it."""
        ...

    def pause(self, number: int) -> None:
        """The partition takes no more events for now."""
        ...

    def resume(self, number: int) -> None:
        """The partition takes events again."""
        ...


class RowStore(Rows, Protocol):
    """The rows of one partition: opened first, closed last.

    Attributes:
        topic_id: of the source topic, noted in each row that is put.
        committed_id: of the topic that the group has committed to, None if it was not noted.
    """

    topic_id: str | None
    committed_id: str | None

    async def open(self) -> Mapping[bytes, Row]:
        """Fence the former owner, then load the rows.

        Raises:
            FencedError: a newer owner came in between.
            BrokerError: a broker does not answer, or does not allow it.
        """
        ...

    async def close(self) -> None:
        """Disconnect; rows that are still waiting are cancelled."""
        ...


class Subscriptions(Directory, Protocol):
    """What the dispatcher needs of the registry."""

    def all(self) -> Sequence[Subscription]:
        """Every subscription."""
        ...

    @property
    def heard_to(self) -> int:
        """Every record before this revision has been taken up."""
        ...

    async def ready(self) -> None:
        """Return when the topic has been read to the end it had at start."""
        ...

    async def caught_up(self) -> None:
        """Return when the topic has been read to the end that it has now."""
        ...


class Log(Reader, Protocol):
    """What the dispatcher needs of the log reader."""

    def forget(self, partition: Behind) -> None:
        """The partition is closed."""
        ...


class Flow(Protocol):
    """Faust's valve per partition (runtime/consumer.py)."""

    def pause(self, number: int) -> None:
        """Dispatch no more events of the partition for now."""
        ...

    def resume(self, number: int) -> None:
        """Dispatch its events again."""
        ...
