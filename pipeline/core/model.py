"""The values that travel through the pipeline: events, and where subscriptions stand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pipeline.core.attempts import Attempts, FailedAttempt, Probes


class Event(Protocol):
    """A record of the source topic. aiokafka's ConsumerRecord is one, so none is copied on the way in."""

    @property
    def topic(self) -> str:
        """The source topic."""
        ...

    @property
    def partition(self) -> int:
        """The partition of the source topic."""
        ...

    @property
    def offset(self) -> int:
        """The offset in the partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        ...

    @property
    def key(self) -> bytes | None:
        """The subscription id, UTF-8."""
        ...

    @property
    def value(self) -> bytes | None:
        """The body; None is sent as an empty one."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Record headers in their order; names may repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """An `Event` that did not come from a consumer: tests, samples, `webhooks send`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0


class Status(StrEnum):
    """What the owner of a partition reports of a subscription there."""

    STARTED = "started"
    FAILURE = "failure"
    STOPPED = "stopped"
    PAUSED = "paused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a subscription stands in FAILURE.

    Attributes:
        kind: "rejected", "server-error", "exception", "gone", "token", "handshake", "configuration", "dead-letter" or
            "cursor" (its row can't be read).
        message: a sentence, without secrets.
        offset: the event at fault, None where no event is.
        at: when it failed, Unix seconds.
        attempts: those of that event, probes too; None where no event is at fault, and in rows of earlier versions.
        probes: what is done about it without a person; None where nothing is (probing.py).
    """

    kind: str
    message: str
    offset: int | None
    at: float
    attempts: Attempts | None = None
    probes: Probes | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a lane stood when its row was written: for people, who may ask any worker. Nothing is delivered by it.

    Attributes:
        is_live: it kept pace with the stream.
        waiting_at_most: how many of its events waited, or an upper bound.
        waiting_is_exact: it is no bound, but the number.
        dispatched: up to where the stream had been taken up, so that what comes later is not counted.
        last_success_at: its last delivery, Unix seconds; None if its worker knows of none.
    """

    is_live: bool
    waiting_at_most: int
    waiting_is_exact: bool
    dispatched: int
    last_success_at: float | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A row of `<app>.cursors`: where a subscription stands in one partition (docs/design.md, Lanes and cursors).

    Attributes:
        next: the next offset to deliver: everything below is settled, nothing at or above it is lost.
        attempt: how many times the event at `next` has been tried.
        first_attempt_at: when that was first, Unix seconds.
        not_before: when the next attempt is due, Unix seconds.
        revision: the newest revision of the spec whose commands have been applied here.
        error, event_ms: why the event at `next` was not delivered so far, and its time stamp, if they are known. They
            change with `attempt` and `next`, and alone they are no reason for a row.
        standing: how the lane stood, None in rows of earlier versions; alone it is no reason for a row either.
        topic_id: of the topic that `next` is an offset of, None if that is not known; noted by the store of the rows.
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
