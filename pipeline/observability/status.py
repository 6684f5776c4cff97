"""The status of a worker as plain values, for the web view, the metrics and the `webhooks` commands.

Each request builds them from the live objects (core/dispatcher.py).
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pipeline.core.attempts import FailedAttempt
from pipeline.core.lane_state import Feed
from pipeline.core.model import Cause
from pipeline.core.rate_limit import SlowStart

Absence = Literal["idle", "elsewhere"]
"""Why a subscription has no lane in a worker (absent.py). "elsewhere" means that another worker owns its partition."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """The status of one subscription in one partition.

    Attributes:
        status: "started", "failure", "stopped", "paused" or "closed".
        next: the first unsettled offset.
        waiting: the number of unsettled events, including those in flight; None if they have not been counted
            (core/waiting.py).
        waiting_at_most: an upper bound of `waiting`, which may include offsets of other subscriptions' events.
        oldest_event_at: the timestamp of the oldest unsettled event, Unix seconds; None if unknown.
        queued: the number of events in memory.
        in_flight: the number of requests under way.
        attempt: the highest number of attempts for one event so far. At ordered levels, this is the event at `next`.
        first_attempt_at: when the first of these attempts began, Unix seconds; None without attempts.
        not_before: when the next attempt is due, Unix seconds; 0 if the lane waits for no attempt.
        error: why the last attempt failed, while the event is retried.
        warning: a warning for the operator, e.g. "the bearer token expired at ...".
        slow_start: the limited rate of its receiver, which was busy; times are in Unix seconds.
    """

    subscription: str
    topic: str
    partition: int
    state: Feed
    status: str
    next: int
    waiting: int | None
    waiting_at_most: int
    oldest_event_at: float | None
    queued: int
    queued_bytes: int
    in_flight: int
    attempt: int
    not_before: float
    cause: Cause | None
    revision: int
    qos: str
    url: str
    warning: str | None = None
    error: FailedAttempt | None = None
    first_attempt_at: float | None = None
    slow_start: SlowStart | None = None


@dataclass(frozen=True, slots=True)
class AbsentReport:
    """A subscription that has no lane in this worker: none of its events are waiting in the worker's partitions.

    Attributes:
        status: the desired state: "started", "failure" (it can't be used), "stopped", "paused" or "closed".
        default_partition: the partition that Kafka's default partitioner selects for its key; None if unknown, with
            `routing: match`, or if the source topics have different numbers of partitions.
        problem: a sentence about why it can't be used, or None.
        warning: see `LaneReport`.
    """

    subscription: str
    state: Absence
    status: str
    default_partition: int | None
    revision: int
    qos: str
    url: str
    problem: str | None
    warning: str | None


@dataclass(frozen=True, slots=True)
class PartitionReport:
    """The status of one partition that this worker owns.

    Attributes:
        committed: the committed offset; None before the first commit.
        dispatched: the next offset that Faust will dispatch; None while the partition is not open.
        end: the end of the log, if known.
        unsettled: the number of offsets in the window.
        oldest_unsettled_seconds: the age of the oldest waiting event, 0 if no event waits. For an event in the window,
            it is the time since the window got the event; for a lane that is behind or failed, the time since the
            timestamp of its first event.
        has_work: whether there is work that can be done now.
        idle_seconds: the time since events last arrived, from the stream or from the log.
    """

    topic: str
    partition: int
    is_open: bool
    committed: int | None
    dispatched: int | None
    end: int | None
    unsettled: int
    oldest_unsettled_seconds: float
    lanes: int
    has_work: bool
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The status of this worker.

    Attributes:
        name: host and port of its pages, which identify the worker.
        partition_count: the number of partitions of the largest topic; None while unknown.
        assigned: the partition numbers of the worker. It owns the partitions with these numbers in all source topics.
        ready: whether the registry has been read and every assigned partition is open.
        problem: a sentence about why it is not ready, or None.
        holds_lease: whether events may be sent, because the group has recently confirmed a heartbeat (core/lease.py).
        hold_seconds: how long events may wait in a partition until it has to make progress (WEBHOOKS_HOLD_SECONDS).
        warnings: warnings for the operator that do not affect readiness, one sentence each.
    """

    app: str
    name: str
    topics: tuple[str, ...]
    partition_count: int | None
    ready: bool
    problem: str | None
    holds_lease: bool
    assigned: tuple[int, ...]
    partitions: tuple[PartitionReport, ...]
    subscriptions: int
    queued_events: int
    queued_bytes: int
    in_flight: int
    hold_seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaneFilter:
    """A filter of lanes. None matches any value."""

    subscription: str | None = None
    state: str | None = None
    status: str | None = None
    topic: str | None = None
    partition: int | None = None

    def matches(self, subscription: str, state: str, status: str, topic: str, partition: int) -> bool:
        """Whether a lane with these values matches."""
        return (
            self.subscription in {None, subscription}
            and self.state in {None, state}
            and self.status in {None, status}
            and self.topic in {None, topic}
            and self.partition in {None, partition}
        )


EVERY_LANE: Final = LaneFilter()


class Reporter(Protocol):
    """Answers requests for the status of a worker."""

    def worker(self) -> WorkerReport:
        """The status of the worker and its partitions."""

    async def lanes(self, wanted: LaneFilter = EVERY_LANE) -> list[LaneReport]:
        """The matching lanes of this worker, sorted by subscription, then partition.

        Deliveries continue during the call, so lanes are read at slightly different times.
        """

    async def absent(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:
        """The sorted ids of the matching subscriptions that have no lane in this worker."""

    def absent_one(self, subscription: str) -> AbsentReport | None:
        """The report about a subscription without a lane; None if there is no such subscription."""
