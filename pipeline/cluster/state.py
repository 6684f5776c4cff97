"""The state of the whole cluster as plain values, for the API, the pages, the commands and `webhooks console`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from pipeline.core.attempts import DeadLetterRun, FailedAttempt
from pipeline.core.model import Cause
from pipeline.core.policy import CauseKind
from pipeline.core.rate_limit import SlowStart

State = Literal["broken", "failure", "unowned", "retrying", "behind", "paused", "stopped", "closed", "live"]
"""The state of a subscription, or of one of its lanes.

    broken    its record or its row can't be used
    failure   it stopped; an operator or a probe has to resume it
    unowned   its partition has no owner
    retrying  an attempt for its next event has failed, and another one follows
    behind    it reads the log, because it could not keep up
    paused, stopped, closed    its publisher or its consumer halted it
    live      no events wait, except events that have just arrived
"""

STATES: Final[tuple[State, ...]] = get_args(State)
"""All states, the most urgent first. The state of a subscription is the state of its most urgent lane."""

Kind = Literal[CauseKind, "failure", "retrying", "behind", "all-dead-lettered"]
"""The kind of a failure: of its cause or last error. If neither is known, it is the state.

A subscription that is live or behind fails if its last events were all dead-lettered.
"""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

ALL_DEAD_LETTERED: Final = "all-dead-lettered"

DESIRED: Final[frozenset[State]] = frozenset({"paused", "stopped", "closed"})
"""States that a user chose. They do not depend on an owner of the partition."""


@dataclass(frozen=True, slots=True)
class LaneSummary:
    """The state of one subscription in one partition, as last reported by the partition's owner.

    Attributes:
        worker: the name of the partition's owner; None if there is none, or if it is unknown.
        next: the first unsettled offset; None if unknown.
        waiting: exactly how many of its events waited at the last report; None if they were not counted.
        waiting_at_most: an upper bound of `waiting`; the difference may be other subscriptions' events. None if
            unknown.
        oldest_event_at: the time of the oldest waiting event, Unix seconds; None if no event waits, or if unknown.
        attempts: the number of attempts for its next event so far.
        failing_since: when the first of these attempts began or, in FAILURE, when the lane failed; Unix seconds.
        next_try_at: when the next attempt or probe is due, Unix seconds; None if none is scheduled.
        cause: why it is in FAILURE.
        error: why the last attempt of its next event failed.
        last_success_at: the last known delivery, Unix seconds. There may have been later deliveries.
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
    """The state of a subscription, joined from the states of its lanes.

    Attributes:
        state: the state of the most urgent lane.
        cause, error, attempts, failing_since, next_try_at: the values of the most urgent lane; see `LaneSummary`.
        last_success_at: the last known delivery in any lane, Unix seconds.
        dead_letter_run: its last events, if they were all dead-lettered; None otherwise, and if unknown.
        waiting: exactly how many events wait in all lanes; None if unknown. The owners count them (core/waiting.py) and
            write the numbers to rows and announcements; joining.py adds them up.
        waiting_at_most: an upper bound of `waiting`; None if unknown.
        oldest_waiting_at: the time of the oldest waiting event, Unix seconds; None if no event waits, or if unknown.
        slow_start: the limited rate of its receiver, which was busy; times are in Unix seconds.
        lacks_worker: whether a partition of its most urgent lanes certainly has no owner.
        begins_at: its `startingAt`, Unix seconds, if it is paused only because this time has not come; else None.
        ended_at: its `endingAt`, Unix seconds, if it is closed only because this time has passed; else None.
        problem: a sentence about why its record or one of its rows can't be used, or None.
        host: host and port of its callback, without credentials.
        lanes: the lanes that have a row or an announcement, by topic and partition.
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
    dead_letter_run: DeadLetterRun | None = None
    lacks_worker: bool = False
    begins_at: float | None = None
    ended_at: float | None = None
    problem: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    lanes: tuple[LaneSummary, ...] = ()

    @property
    def waiting_is_exact(self) -> bool:
        """Whether `waiting` is known."""
        return self.waiting is not None

    @property
    def is_well(self) -> bool:
        """Whether its workers report it as live and not in a slow start, so that a resume would change nothing."""
        return self.state == "live" and self.slow_start is None and self.waiting_is_exact

    @property
    def has_failed(self) -> bool:
        """Whether the subscription is in FAILURE, in any lane."""
        return self.state == "failure" or any(lane.state == "failure" for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class StateFilter:
    """A filter of subscriptions. An empty attribute, or None, matches all subscriptions.

    Attributes:
        text: a part of the id, of the host or of a metadata value, ignoring case.
        states: the state is one of these.
        causes: the kind of the failure (`FailureGroup.kind`) is one of these.
        host: the host of the callback, ignoring case; without a port, any port matches.
        metadata: the subscription has all of these names and values.
        ids: the id is one of these.
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
    """A page of subscriptions, sorted by id.

    Attributes:
        next: the `after` of the next page; None if this is the last one.
        total: how many subscriptions all pages have.
    """

    items: Sequence[SubscriptionState]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Subscriptions that fail, retry or are broken for the same reason.

    Attributes:
        kind: the kind of the cause (`core.model.Cause`); while events are retried, the kind that a FAILURE would have.
        message: the reason, with `…` for the parts that vary: addresses, numbers, ids, quoted texts.
        host: host and port of the callbacks.
        example: one of the original messages.
        count: the number of subscriptions.
        since: when the first of them began to fail, Unix seconds; None if unknown.
        ids: the first hundred ids.
        waiting: exactly how many of their events wait; None if unknown.
        waiting_at_least: how many of their events certainly wait.
        waiting_at_most: an upper bound of `waiting`; None if unknown, or if the group has too many members.
        oldest_waiting_at: the time of the oldest known waiting event, Unix seconds; None if there is none.
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
        opened_at: the offset at which its owner began.
        dispatched: the next offset to be dispatched.
        counted_to: the rows of all lanes count waiting events at least up to this offset.
        is_counted: whether all rows that count only up to `counted_to` are at most a few seconds old.
        end: the end of the log, as last read by the owner.
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
    """A worker, according to its last announcement.

    Attributes:
        name: host and port of its pages.
        started_at, seen_at: when it started, and when it last announced itself, Unix seconds.
        is_gone: whether the worker has announced nothing for ten seconds.
        problem: a sentence about why it is not ready, or None.
        delivered_per_second, failed_per_second: the rates of attempts that succeeded and failed in the last ten
            seconds.
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
