"""Fakes of the parts around the core. Tests control them: nothing happens until a test calls a method."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.errors import FencedError, LeaseEndedError, NotDeadLetteredError
from pipeline.core.keys import keys_among
from pipeline.core.lease import Lease
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cursor, Event, PlainEvent, Row, UnreadableRow
from pipeline.core.outcome import Outcome
from pipeline.core.ports import Behind, Matching, Wanted
from pipeline.core.subscription import Subscription

TOPIC = "events"
ANY_LOG = LogBounds.unseen(None)
"""A log in which every offset is valid."""
MS_PER_OFFSET = 1_000
"""The record at offset o of a `SourceLog` has the timestamp o * MS_PER_OFFSET."""


class VirtualClock:
    """A clock with the time of the running event loop, which jumps in virtual time (virtual_time.py).

    Attributes:
        ahead: how many seconds it is ahead of the event loop, as if the system clock had been set.
    """

    ahead = 0.0

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class HandLease(Lease):
    """A lease that is held until a test ends the lease, and again after a confirmed heartbeat."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(15.0, lambda: self.seconds)
        self.confirm()

    def end(self) -> None:
        """End the lease, by letting fifteen seconds pass without a heartbeat."""
        self.seconds += 15.0

    def confirm(self) -> None:
        """Confirm a heartbeat that was sent now."""
        self.renew(self.seconds)


@dataclass(slots=True)
class SourceLog:
    """One partition of the source topic. A test makes a gap by increasing *end*. Events below *begin* are deleted."""

    records: list[PlainEvent] = field(default_factory=list)
    begin: int = 0
    end: int = 0

    def append(
        self, key: bytes | None, value: bytes | None = b"{}", headers: Sequence[tuple[str, bytes]] = ()
    ) -> PlainEvent:
        record = PlainEvent(TOPIC, 0, self.end, key, value, headers, timestamp=self.end * MS_PER_OFFSET)
        self.records.append(record)
        self.end += 1
        return record

    def read(self, start: int, count: int) -> list[PlainEvent]:
        first = bisect_left(self.records, max(start, self.begin), key=lambda record: record.offset)
        return self.records[first : first + count]

    def cut(self, begin: int) -> None:
        self.begin = begin

    def offset_at(self, timestamp_ms: int) -> int | None:
        found = (record.offset for record in self.read(self.begin, len(self.records)))
        return next((offset for offset in found if offset * MS_PER_OFFSET >= timestamp_ms), None)


@dataclass(slots=True, eq=False)
class Attempt:
    """A request without an answer so far."""

    subscription: Subscription
    event: Event
    number: int
    renew_token: bool
    answered: "asyncio.Future[Outcome]"

    @property
    def offset(self) -> int:
        return self.event.offset

    def answer(self, outcome: Outcome) -> None:
        if not self.answered.done():
            self.answered.set_result(outcome)


class ScriptedSend:
    """A `Send` whose requests a test answers. While *script* has answers, requests get these at once."""

    def __init__(self, *script: Outcome) -> None:
        self.script: list[Outcome | LeaseEndedError] = list(script)
        self.made: list[Attempt] = []
        self.pending: list[Attempt] = []

    async def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Outcome:
        made = Attempt(subscription, event, attempt, renew_token, asyncio.get_running_loop().create_future())
        self.made.append(made)
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, LeaseEndedError):
                raise answer
            return answer
        self.pending.append(made)
        try:
            return await made.answered
        finally:
            self.pending.remove(made)

    def offsets(self) -> list[int]:
        """The offsets of all attempts so far, in order."""
        return [attempt.offset for attempt in self.made]


class RowTopic:
    """The durable rows of one partition, and the owner that may write them.

    *observe* is called with each row before it becomes durable.
    """

    def __init__(self, observe: Callable[[bytes, Cursor | None], None] = lambda _key, _row: None) -> None:
        self.rows: dict[bytes, Cursor] = {}
        self.unreadable: dict[bytes, UnreadableRow] = {}
        self.history: list[tuple[bytes, Cursor | None]] = []
        self.owner: MemoryRows | None = None
        self.observe = observe

    def write(self, key: bytes, row: Cursor | None) -> None:
        self.observe(key, row)
        self.unreadable.pop(key, None)
        self.history.append((key, row))
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row


@dataclass(slots=True)
class _Put:
    key: bytes
    row: Cursor | None
    landed: "asyncio.Future[None]"
    is_stored: bool = False


class MemoryRows:
    """A `RowStore` of one owner. Rows wait until `land` is called. When a newer owner opens, this owner is fenced."""

    def __init__(self, topic: RowTopic, log: LogBounds = ANY_LOG) -> None:
        self.topic = topic
        self.log = log
        self.pending: list[_Put] = []
        self.is_dead = False

    async def open(self) -> Mapping[bytes, Row]:
        self.topic.owner = self
        await asyncio.sleep(0)
        return {**self.topic.rows, **self.topic.unreadable}

    @property
    def is_fenced(self) -> bool:
        return self.topic.owner is not self

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        if cursor is not None:
            cursor = replace(cursor, topic_id=self.log.topic_id)
        put = _Put(key, cursor, asyncio.get_running_loop().create_future())
        if not self.is_dead:
            self.pending.append(put)
        return put.landed

    def store(self, count: int | None = None) -> None:
        """Make the first *count* waiting rows durable, as one transaction. The callers are not notified yet."""
        if self.is_fenced:
            return
        group = [put for put in self.pending[:count] if not put.is_stored]
        for key, row in {put.key: put.row for put in group}.items():
            self.topic.write(key, row)
        for put in group:
            put.is_stored = True

    def land(self, count: int | None = None) -> None:
        """Confirm the first *count* waiting rows, or refuse them if a newer owner has opened."""
        self.store(count)
        landed, self.pending = self.pending[:count], [] if count is None else self.pending[count:]
        for put in landed:
            if put.landed.done():
                continue
            if put.is_stored:
                put.landed.set_result(None)
            else:
                put.landed.set_exception(FencedError("a newer owner exists"))
                put.landed.exception()

    async def close(self) -> None:
        self.is_dead = True
        for put in self.pending:
            put.landed.cancel()
        self.pending.clear()


class MemoryReader:
    """A `Log` that reads a `SourceLog` when a test calls `serve`."""

    def __init__(self, log: SourceLog, answer_seconds: float = 0.5) -> None:
        self.log = log
        self.wanting: dict[Behind, None] = {}
        self._answer_seconds = answer_seconds

    def wake(self, partition: Behind) -> None:
        self.wanting[partition] = None

    def forget(self, partition: Behind) -> None:
        self.wanting.pop(partition, None)

    async def offset_at(self, partition: int, timestamp_ms: int) -> int | None:  # noqa: ARG002 - there is one partition
        await asyncio.sleep(self._answer_seconds)
        return self.log.offset_at(timestamp_ms)

    async def end_of(self, partition: int) -> int:  # noqa: ARG002 - there is one partition
        await asyncio.sleep(self._answer_seconds)
        return self.log.end

    async def count(self, partition: int, key: bytes, start: int, end: int, matching: Matching | None) -> int:  # noqa: ARG002 - there is one partition
        await asyncio.sleep(self._answer_seconds)
        found = [each for each in self.log.read(start, end - start) if each.offset < end]
        return sum(bool(keys_among(each, (key,), matching)) for each in found)

    def fetch(self, partition: Behind, count: int) -> "Stretch | None":
        """Read the events that a partition wants; None if it wants none.

        If their offsets were deleted, the partition is notified, and the result is also None.
        """
        wanted = partition.wanted()
        if wanted is None:
            self.wanting.pop(partition, None)
            return None
        if wanted.start < self.log.begin:
            partition.log_begins_at(self.log.begin)
            return None
        events = self.log.read(wanted.start, count)
        end = events[-1].offset + 1 if events else max(wanted.start, self.log.end)
        keys = wanted.keys
        return Stretch(partition, wanted, end, [each for each in events if keys is None or (each.key or b"") in keys])

    def serve(self, count: int = 100) -> None:
        """Read once for every partition that wants events."""
        for partition in list(self.wanting):
            stretch = self.fetch(partition, count)
            if stretch is not None:
                stretch.feed()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events that were read from the log and not delivered to the partition yet."""

    partition: Behind
    wanted: Wanted
    end: int
    events: Sequence[PlainEvent]

    def feed(self) -> None:
        self.partition.feed(self.wanted, self.end, self.events)


class MemoryRegistry:
    """A `Registry` with a list of changes, which it reads when a test calls `read`."""

    def __init__(self, changes: list[tuple[str, Subscription | None]] | None = None) -> None:
        self.changes = [] if changes is None else changes
        self.position = 0
        self.known: dict[str, Subscription] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def publish(self, subscription_id: str, subscription: Subscription | None) -> None:
        self.changes.append((subscription_id, subscription))

    def read(self, count: int | None = None) -> list[tuple[str, Subscription | None]]:
        """Read the next *count* changes, and return them."""
        end = len(self.changes) if count is None else min(len(self.changes), self.position + count)
        found = self.changes[self.position : end]
        self.position = end
        for subscription_id, subscription in found:
            if subscription is None:
                self.known.pop(subscription_id, None)
            else:
                self.known[subscription_id] = subscription
        for target, waiter in self._waiters:
            if target <= end and not waiter.done():
                waiter.set_result(None)
        return found

    def __len__(self) -> int:
        return len(self.known)

    def get(self, subscription_id: str) -> Subscription | None:
        return self.known.get(subscription_id)

    def all(self) -> Sequence[Subscription]:
        return list(self.known.values())

    def ids(self) -> Sequence[str]:
        return sorted(self.known)

    @property
    def read_to(self) -> int:
        return self.position

    async def ready(self) -> None:
        return None

    async def caught_up(self) -> None:
        if self.position < len(self.changes):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((len(self.changes), waiter))
            await waiter


class AskEachFilter:
    """A `Matching` that evaluates the filter of every subscription."""

    def __init__(self) -> None:
        self._subscriptions: dict[bytes, Subscription] = {}

    def update(self, subscription_id: str, subscription: Subscription | None) -> None:
        if subscription is None:
            self._subscriptions.pop(subscription_id.encode(), None)
        else:
            self._subscriptions[subscription_id.encode()] = subscription

    def keys(self, event: Event, among: Collection[bytes] | None = None) -> Sequence[bytes]:
        return [
            key
            for key, subscription in self._subscriptions.items()
            if (among is None or key in among) and (subscription.filter is None or subscription.filter(event))
        ]


class RecordingDeadLetters:
    """A `DeadLetterWriter`. A test confirms or refuses its letters; with *at_once*, they are confirmed at once."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.confirmed: list[DeadLetterRecord] = []
        self.pending: list[tuple[DeadLetterRecord, asyncio.Future[bool]]] = []

    async def put(self, letter: DeadLetterRecord) -> None:
        if not self.at_once:
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            entry = (letter, answer)
            self.pending.append(entry)
            try:
                is_taken = await answer
            finally:
                self.pending.remove(entry)
            if not is_taken:
                raise NotDeadLetteredError("the dead-letter topic refuses it")
        self.confirmed.append(letter)

    def answer(self, index: int, *, is_taken: bool) -> None:
        answer = self.pending[index][1]
        if not answer.done():
            answer.set_result(is_taken)
