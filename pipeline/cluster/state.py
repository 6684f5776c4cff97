"""The state of the whole cluster as plain values: for the API, the pages, the commands and `webhooks console`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from pipeline.core.attempts import FailedAttempt
from pipeline.core.model import Cause
from pipeline.core.rate_limit import SlowStart

State = Literal["broken", "failure", "unowned", "retrying", "behind", "paused", "stopped", "closed", "live"]
"""The state of a subscription, or of one of its lanes.

    broken    its record or its row can't be used
    failure   it stopped; an operator or a probe has to resume it
    unowned   no worker owns its partition
    retrying  its next event has failed, and will be tried again
    behind    it reads the log, because it could not keep pace
    paused, stopped, closed    by its publisher or its consumer
    live      no events wait, except for those that have just arrived
"""

STATES: Final[tuple[State, ...]] = get_args(State)
"""From the most to the least urgent. The state of a subscription is that of its most urgent lane."""

WISHED: Final[frozenset[State]] = frozenset({"paused", "stopped", "closed"})
"""States that somebody asked for; they do not depend on an owner of the partition."""


@dataclass(frozen=True, slots=True)
class LanePlace:
    """One subscription in one partition, as last reported by the partition's owner.

    Attributes:
        topic, partition: of the source.
        worker: the name of the partition's owner; None if there is none, or if it is not known.
        next: the first offset that is not settled; None if it is not known.
        waiting: how many of its events waited, exactly, at the last report; None if they were not counted.
        waiting_at_most: the same number or an upper bound: offsets that may be other subscriptions' events. None if not
            even that is known.
        oldest_event_at: the time of the oldest one, Unix seconds; None if none waits or it is not known.
        attempts: how often its next event has been tried so far.
        failing_since: when the first of these attempts began or, in FAILURE, when it failed; Unix seconds.
        next_try_at: when the next attempt or probe is due, Unix seconds; None if none is.
        cause: why it is in FAILURE.
        error: why the last attempt of its next event failed.
        last_success_at: Unix seconds of the last delivery that is known; there may have been later ones.
    """

    topic: str
    partition: int
    state: State
    worker: str | None
    next: int | None = None
    waiting: int | None = None
    waiting_at_most: int | None = None
    oldest_event_at: float | None = None
    attempts: int = 0
    failing_since: float | None = None
    next_try_at: float | None = None
    cause: Cause | None = None
    error: FailedAttempt | None = None
    last_success_at: float | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription, joined over its lanes.

    Attributes:
        state: that of the most urgent lane.
        cause, error, attempts, failing_since, next_try_at: those of that lane, see `LanePlace`.
        last_success_at: the last delivery that is known, in any lane.
        waiting: how many events wait in all lanes; None if that is not known exactly. The owners count them
            (core/waiting.py) and write the numbers to rows and announcements; joining.py adds them up.
        waiting_at_most: the same number or an upper bound; None where not even that is known.
        oldest_waiting_at: the time of the oldest one, Unix seconds; None if none waits or it is not known.
        slow_start: the limited rate of its receiver, which was busy; in Unix seconds.
        problem: why its record or a row of it can't be used, a sentence.
        host: host and port of its callback, without credentials.
        metadata: as in its document.
        lanes: those that are not plainly live, by topic and partition.
    """

    id: str
    state: State
    revision: int
    host: str
    qos: str
    cause: Cause | None = None
    error: FailedAttempt | None = None
    attempts: int = 0
    failing_since: float | None = None
    next_try_at: float | None = None
    last_success_at: float | None = None
    waiting: int | None = 0
    waiting_at_most: int | None = 0
    oldest_waiting_at: float | None = None
    slow_start: SlowStart | None = None
    problem: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    lanes: tuple[LanePlace, ...] = ()

    @property
    def waiting_is_exact(self) -> bool:
        """Whether `waiting` is known."""
        return self.waiting is not None

    @property
    def is_well(self) -> bool:
        """Whether its workers have reported that it is live and not in a slow start: a resume would change nothing."""
        return self.state == "live" and self.slow_start is None and self.waiting_is_exact

    @property
    def has_failed(self) -> bool:
        """Whether it is in FAILURE, in any lane."""
        return self.state == "failure" or any(lane.state == "failure" for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class StateFilter:
    """A filter of subscriptions; an attribute that is empty or None matches all.

    Attributes:
        text: a part of the id, of the host or of a value of the metadata, ignoring case.
        states, causes: one of these; causes are the kinds of `FailureGroup`.
        host: of the callback, with its port, or without one for any port; ignoring case.
        metadata: all of these, exactly.
        ids: one of these.
    """

    text: str = ""
    states: frozenset[State] = frozenset()
    causes: frozenset[str] = frozenset()
    host: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    ids: frozenset[str] | None = None


EVERY_STATE: Final = StateFilter()


@dataclass(frozen=True, slots=True)
class StatePage:
    """A page of subscriptions, by id.

    Attributes:
        next: the `after` of the next page; None if this is the last one.
        total: how many match, on all pages.
    """

    items: Sequence[SubscriptionState]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Subscriptions in failure, retrying or broken for the same reason.

    Attributes:
        state: theirs.
        kind: of the cause (`core.model.Cause`); while events are retried, the kind that a FAILURE would have.
        message: why, with `…` in place of what varies: addresses, numbers, ids, quoted texts.
        host: host and port of their callbacks.
        example: one of the original messages.
        count: how many there are.
        since: when the first of them began to fail, Unix seconds; None if it is not known.
        ids: the first hundred.
        waiting: how many of their events wait; None if that is not known exactly.
        waiting_at_least: how many are known to wait.
        waiting_at_most: the same number or an upper bound; None if not even that is known, or if there are too many
            subscriptions to add up.
        oldest_waiting_at: the time of the oldest one that is known, Unix seconds; None if none is.
    """

    state: State
    kind: str
    message: str
    host: str
    example: str
    count: int
    since: float | None
    ids: tuple[str, ...]
    waiting: int | None = None
    waiting_at_least: int = 0
    waiting_at_most: int | None = None
    oldest_waiting_at: float | None = None


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition of a source topic, as last reported by its owner.

    Attributes:
        committed: the committed offset; None before the first commit.
        opened_at: where its owner began.
        dispatched: the next offset to be dispatched.
        counted_to: every lane's row counts what waits at least up to this offset.
        is_counted: whether rows that count no further than `counted_to` are at most a few seconds old.
        end: the end of the log, as far as the owner knows.
    """

    topic: str
    partition: int
    committed: int | None
    opened_at: int
    dispatched: int
    counted_to: int
    is_counted: bool
    end: int | None


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker, as it last announced itself.

    Attributes:
        name: host and port of its pages.
        version: of the software.
        started_at, seen_at: when it started and when it last announced itself, Unix seconds.
        is_gone: it has not announced itself for ten seconds.
        problem: why it is not ready, a sentence.
        delivered_per_second, failed_per_second: attempts that succeeded or failed, over the last ten seconds.
        queued, in_flight: events in memory, and requests under way.
    """

    name: str
    version: str
    started_at: float
    seen_at: float
    is_gone: bool
    ready: bool
    problem: str | None
    partitions: tuple[PartitionState, ...]
    delivered_per_second: float
    failed_per_second: float
    queued: int
    in_flight: int
    warnings: tuple[str, ...] = ()
