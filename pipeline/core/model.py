"""Values used throughout the pipeline: events, and the positions of subscriptions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from pipeline.core.attempts import Attempts, FailedAttempt, Probes

CLOUD_EVENT_PREFIX: Final = "ce_"
"""An attribute of a CloudEvent (Kafka binding 1.0.2, section 3.2.3)."""

DEAD_LETTER_PREFIX: Final = "dlq."
"""A fact about a dead letter (docs/design.md, Dead letters). After a redrive, receivers don't get this header."""


class Event(Protocol):
    """A record of the source topic. aiokafka's ConsumerRecord implements this protocol, so records are not copied."""

    @property
    def topic(self) -> str:
        """The source topic."""

    @property
    def partition(self) -> int:
        """The partition of the source topic."""

    @property
    def offset(self) -> int:
        """The offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Unix time in milliseconds."""

    @property
    def key(self) -> bytes | None:
        """The key of the record; with `routing: key` the id of a subscription, UTF-8."""

    @property
    def value(self) -> bytes | None:
        """The body; None is sent as an empty body."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Record headers in their order; names may repeat."""


@dataclass(frozen=True, slots=True)
class PlainEvent:
    """An `Event` that did not come from a consumer: tests, samples, `webhooks send`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0


class Status(StrEnum):
    """The status of a subscription in one partition, as the partition's owner reports it."""

    STARTED = "started"
    FAILURE = "failure"
    STOPPED = "stopped"
    PAUSED = "paused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a subscription is in FAILURE.

    Attributes:
        kind: one of `policy.CauseKind`.
        message: a sentence, without secrets.
        offset: the offset of the event at fault; None if no event is at fault.
        at: when it failed, Unix seconds.
        attempts: the attempts for that event, including probes; None if no event is at fault, and in rows of earlier
            versions.
        probes: the automatic recovery (probing.py); None if there is none.
    """

    kind: str
    message: str
    offset: int | None
    at: float
    attempts: Attempts | None = None
    probes: Probes | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a lane when its row was written, so that every worker can show it. Deliveries do not depend on it.

    Attributes:
        is_live: whether the lane kept pace with the stream.
        waiting_at_most: how many of its events were waiting, or an upper bound.
        waiting_is_exact: whether `waiting_at_most` is the exact number (in_log.py).
        dispatched: the offset up to which the stream was dispatched; later events are not counted.
        last_success_at: the time of its last delivery, Unix seconds; None if unknown.
    """

    is_live: bool
    waiting_at_most: int
    waiting_is_exact: bool
    dispatched: int
    last_success_at: float | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A row of `<app>.cursors`: a subscription's position in one partition (docs/design.md, Lanes and cursors).

    Rows that differ only in `error` or `event_ms` are equal. While the lane is live, rows that differ only in
    `standing` are equal too.

    Attributes:
        next: the next offset to deliver. All events before it are settled.
        attempt: how many times the event at `next` has been tried.
        first_attempt_at: when this event was first tried, Unix seconds.
        not_before: when the next attempt is due, Unix seconds.
        revision: the newest revision of the subscription whose command was carried out here.
        error: why the last attempt did not deliver the event at `next`, if known.
        event_ms: the timestamp of the event at `next`, if known.
        standing: the state of the lane; None in rows of earlier versions.
        topic_id: the id of the topic that `next` belongs to; None if unknown. Set by the row store.
    """

    next: int
    status: Status = Status.STARTED
    cause: Cause | None = None
    attempt: int = 0
    first_attempt_at: float | None = None
    not_before: float = 0.0
    revision: int = -1
    error: FailedAttempt | None = field(default=None, compare=False)
    event_ms: int | None = field(default=None, compare=False)
    standing: Standing | None = field(default=None, compare=False)
    topic_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that can't be used.

    Its lane goes into FAILURE at the row's cursor, or at the committed offset if the cursor can't be read either. It
    waits for an operator, because an automatic continuation could skip or repeat events.

    Attributes:
        reason: what is wrong with the row, a short sentence.
        next: the row's cursor; None if it can't be read.
    """

    reason: str
    next: int | None = None


Row = Cursor | UnreadableRow
