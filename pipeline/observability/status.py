"""The status of a worker: plain values for the web view, the metrics and the `webhooks` commands.

They are built on request from the live objects (core/dispatcher.py) and not kept.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pipeline.core.attempts import FailedAttempt
from pipeline.core.lane_state import Feed
from pipeline.core.model import Cause
from pipeline.core.rate_limit import SlowStart

Absence = Literal["idle", "elsewhere"]
"""Why a subscription has no lane in a worker: it has no work, or another worker owns its partition (absent.py)."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One subscription in one partition.

    Attributes:
        status: "started", "failure", "stopped", "paused" or "closed".
        next: the first unsettled offset.
        waiting: the number of unsettled events, including those in flight; None if they have not been counted
            (core/unread.py).
        waiting_at_most: the same number, or an upper bound: offsets of the partition, including other subscriptions'.
        oldest_event_at: the timestamp of the oldest unsettled event, Unix seconds; None if it is not known.
        queued: events in memory.
        in_flight: requests under way.
        attempt: the number of attempts so far of the event with the most; at ordered levels, of the event at `next`.
        first_attempt_at: Unix seconds of the first of these attempts, None if there was none.
        not_before: Unix seconds of the next attempt, 0 if the lane is not waiting for one.
        error: why the last attempt failed, while its event is being retried.
        warning: a warning for the operator, e.g. "the bearer token expired at ...".
        slow_start: the limited rate of its receiver, which was busy; in Unix seconds.
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
        status: "started", "failure" (it can't be used), "stopped", "paused" or "closed": the desired state.
        default_partition: the partition that Kafka's default partitioner selects for its key; None if not known, and
            with `routing: match`.
        problem: why it can't be used, a sentence.
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
    """One partition that this worker owns.

    Attributes:
        committed: the committed offset, None before the first commit.
        dispatched: the next offset that Faust will dispatch.
        end: the end of the log, as far as it is known.
        unsettled: the number of offsets in the window.
        oldest_unsettled_seconds: the age of the oldest waiting event: the longest time that the window has held one, or
            the time since the timestamp of the first event of a lane that is behind or failed; 0 if none waits.
        has_work: whether there is work that may be done.
        progressed_at: Unix seconds of the last progress: a batch, a settlement, an attempt, a row.
    """

    topic: str
    partition: int
    is_open: bool
    committed: int | None
    dispatched: int
    end: int | None
    unsettled: int
    oldest_unsettled_seconds: float
    lanes: int
    has_work: bool
    progressed_at: float


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """This worker.

    Attributes:
        name: host and port of its pages, which distinguish it from other workers.
        topics: the source topics.
        partition_count: the number of partitions of the largest topic; None while it is not known.
        assigned: the numbers of its partitions; the worker has the partition with that number of every topic that has
            one.
        ready: whether the registry has been read and every assigned partition is open.
        problem: why it is not ready, a sentence.
        holds_lease: whether events may be sent, because the group has recently confirmed a heartbeat (core/lease.py).
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
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaneFilter:
    """A filter of lanes; None matches any value."""

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
        """This worker and its partitions."""
        ...

    async def lanes(self, wanted: LaneFilter = EVERY_LANE) -> list[LaneReport]:
        """The lanes of this worker that match, by subscription, then partition.

        Deliveries continue during the call; each lane is reported as it is when it is read.
        """
        ...

    async def absent(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:
        """The ids of the subscriptions that match and have no lane in this worker, sorted."""
        ...

    def absent_one(self, subscription: str) -> AbsentReport | None:
        """A subscription without a lane; None if there is no such subscription."""
        ...
