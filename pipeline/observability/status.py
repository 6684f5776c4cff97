"""What a worker says of itself: plain values that the web view, the metrics and `webhooks` commands read.

Made on request from the live objects (core/dispatcher.py), never kept.
"""

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pipeline.core.attempts import FailedAttempt
from pipeline.core.lane_state import Feed
from pipeline.core.model import Cause

Absence = Literal["idle", "elsewhere"]
"""Why a subscription has no lane in a worker: it has nothing to do, or another worker has its partition (absent.py)."""


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One subscription in one partition.

    Attributes:
        status: "started", "failure", "stopped", "paused" or "closed".
        next: the first offset that is not settled.
        waiting: how many events of it are not settled, those under way among them; None where they have not been
            counted (unread.py).
        waiting_at_most: as many, or an upper bound: offsets of the partition, shared with other subscriptions.
        oldest_event_at: the time stamp of the first of them, Unix seconds; None where it is not known.
        queued: events in memory.
        in_flight: requests under way.
        attempt: tries so far of the event that has been tried most often; of the one at `next`, in ordered levels.
        first_attempt_at: Unix seconds of the first of them, None when there was none.
        not_before: Unix seconds of the next try, 0 when it isn't waiting.
        error: why the last attempt did not deliver its event, while that is tried again.
        warning: something a person should know, e.g. "the bearer token expired at ...".
    """

    subscription: str
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


@dataclass(frozen=True, slots=True)
class AbsentReport:
    """A subscription that has no lane in this worker: nothing of it waits in the worker's partitions.

    Attributes:
        status: "started", "failure" (it can't be used), "stopped", "paused" or "closed": what people asked for.
        default_partition: the one that Kafka's default partitioner gives to its key; None where it is not known.
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
        committed: the last offset that was committed, None before the first commit.
        dispatched: the next offset that Faust will hand out.
        end: the end of the log as far as it is known.
        unsettled: offsets in the window.
        oldest_unsettled_seconds: how old the oldest event is that waits here: for how long the window has held one, and
            the age of the first event of each lane that is behind or failed, by its time stamp; 0 where none waits.
        has_work: there is something to do here, and it may be done.
        progressed_at: Unix seconds when something last moved here: a batch, a settlement, an attempt, a row.
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
        name: host and port of its pages, to tell it from others.
        partition_count: how many partitions the topic has; None while that is not known.
        ready: the registry has been read and every assigned partition is open.
        problem: why it is not ready, a sentence.
        holds_lease: events may be sent, for the group has confirmed a heartbeat lately (core/lease.py).
        warnings: what a person should know although the worker is ready, a sentence each.
    """

    app: str
    name: str
    topic: str
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
    """Which lanes are asked for; None asks for any."""

    subscription: str | None = None
    state: str | None = None
    status: str | None = None
    partition: int | None = None

    def matches(self, subscription: str, state: str, status: str, partition: int) -> bool:
        """Whether such a lane is one of them."""
        return (
            self.subscription in {None, subscription}
            and self.state in {None, state}
            and self.status in {None, status}
            and self.partition in {None, partition}
        )


EVERY_LANE: Final = LaneFilter()


class Reporter(Protocol):
    """Whoever can be asked: the dispatcher."""

    def worker(self) -> WorkerReport:
        """This worker and its partitions."""
        ...

    async def lanes(self, wanted: LaneFilter = EVERY_LANE) -> list[LaneReport]:
        """The lanes of this worker that are asked for, by subscription, then partition.

        Each as it is when it is looked at: deliveries go on in between.
        """
        ...

    async def absent(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:
        """The ids of the subscriptions that are asked for and have no lane in this worker, in their order."""
        ...

    def absent_one(self, subscription: str) -> AbsentReport | None:
        """One of them; None where there is no such subscription."""
        ...
