"""Joins a subscription, its cursor rows and the announcements of workers into its state. Pure.

A lane may have a row and an announcement by its worker. If a lane has both, the newer one is used.

    row, halted or behind    the state is in the row; its count of waiting events is exact up to `counted_to`
    row, live                at-most-once keeps this row; the announcement has the waiting events
    announcement             live: waiting for a slot, or being retried
    neither                  live, without waiting events, if its worker has announced all lanes with events
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from pipeline.cluster.announcement import AnnouncedLane
from pipeline.cluster.rows_seen import SeenRow, SourcePartition
from pipeline.cluster.state import ALL_DEAD_LETTERED, STATES, LaneSummary, PartitionState, State, SubscriptionState
from pipeline.core.attempts import DeadLetterRun, FailedAttempt
from pipeline.core.model import Cursor, Status, UnreadableRow
from pipeline.core.pending import pending_in
from pipeline.core.rate_limit import SlowStart
from pipeline.core.redaction import shown_address
from pipeline.core.subscription import DesiredStatus, Subscription

_URGENCY: Final = {state: number for number, state in enumerate(STATES)}
STATE_OF: Final[dict[Status, State]] = {
    Status.FAILURE: "broken",
    Status.PAUSED: "paused",
    Status.STOPPED: "stopped",
    Status.CLOSED: "closed",
}
"""The states of subscriptions that must not deliver. Here, FAILURE means that the record can't be used."""
_FAILING: Final[frozenset[State]] = frozenset({"broken", "failure", "retrying"})
LEAST_DEAD_LETTERS: Final = 3
"""How many dead letters in a row are a failure. Fewer may be due to the events, not to the receiver."""
SERVER_ERRORS: Final = 500
LONGEST_SHAPED: Final = 1_000
"""The most characters of a message that `shape` reads."""


@dataclass(frozen=True, slots=True)
class Owner:
    """What is known about the partition of a lane and its owner.

    Attributes:
        worker: the owner; None if it is unknown.
        is_unowned: whether the partition certainly has no owner.
        partition: the partition in its owner's last announcement; None without one.
        end: the end of the partition's log, if known.
    """

    worker: str | None
    is_unowned: bool
    partition: PartitionState | None
    end: int | None = None


def urgency(state: State) -> int:
    """The rank of a state; 0 is the most urgent one."""
    return _URGENCY[state]


def summary_of_row(place: SourcePartition, seen: SeenRow, owner: Owner) -> LaneSummary:
    """The state of a lane according to its row."""
    row = seen.row
    if isinstance(row, UnreadableRow):
        error = FailedAttempt(unreadable(row), seen.at)
        return LaneSummary(*place, "broken", owner.worker, row.next, None, None, error=error)
    waiting, at_most = _waiting(row, owner)
    state = state_of_row(row)
    if owner.is_unowned and urgency(state) > urgency("unowned"):
        state = "unowned"
    is_tried = row.status is Status.STARTED and (row.error is not None or row.attempt > 0)
    failing_since = row.first_attempt_at if is_tried else None
    attempts = row.attempt
    # The row of a halted lane keeps the time of the next attempt, but a resume ends the wait.
    next_try_at = (row.not_before or None) if row.status is Status.STARTED else None
    if row.cause is not None:
        tried, probes = row.cause.attempts, row.cause.probes
        next_try_at = None if probes is None else probes.next_at
        failing_since, attempts = (row.cause.at, 0) if tried is None else (tried.since, tried.count)
    return LaneSummary(
        *place,
        state,
        owner.worker,
        row.next,
        waiting,
        at_most,
        None if row.event_ms is None or waiting == 0 else row.event_ms / 1000,
        attempts,
        failing_since,
        next_try_at,
        row.cause,
        row.error,
        None if row.standing is None else row.standing.last_success_at,
    )


def state_of_row(row: Cursor) -> State:
    """The state of a lane, from its row alone."""
    if row.status is Status.FAILURE:
        return "failure"
    if row.status is not Status.STARTED:
        return STATE_OF[row.status]
    if is_retrying(row):
        return "retrying"
    return "live" if row.standing is not None and row.standing.is_live else "behind"


def is_retrying(row: Cursor) -> bool:
    """Whether an attempt has failed. A row may also be written during the first attempt."""
    return row.error is not None or row.attempt > 1 or bool(row.not_before)


def _waiting(row: Cursor, owner: Owner) -> tuple[int | None, int | None]:
    """The number of waiting events, if known, and an upper bound.

    The number is known if the current owner of the partition wrote the row, and has counted every event (core/in_log.py
    says when it has not). Nothing is known, not even a bound, if the owner has not announced the partition, or if there
    is no owner and the end of the log is unknown.
    """
    standing, partition = row.standing, owner.partition
    reached = owner.end if owner.is_unowned else None if partition is None else partition.dispatched
    if standing is None:
        return None, None if reached is None else max(0, reached - row.next)
    counts_to = standing.dispatched
    # A new owner does not know the numbers that the former owner counted.
    is_of_owner = partition is not None and not owner.is_unowned and standing.dispatched >= partition.opened_at
    if partition is not None and is_of_owner:
        if partition.is_counted and standing.waiting_is_exact:
            return standing.waiting_at_most, standing.waiting_at_most
        counts_to = max(counts_to, partition.counted_to)
    return None, None if reached is None else standing.waiting_at_most + max(0, reached - counts_to)


def summary_of_announced(lane: AnnouncedLane, owner: Owner) -> LaneSummary:
    """The state of a live lane according to its worker's announcement."""
    return LaneSummary(
        lane.topic,
        lane.partition,
        "unowned" if owner.is_unowned else "retrying" if lane.error is not None else "live",
        owner.worker,
        lane.next,
        lane.waiting,
        lane.waiting,
        lane.oldest_event_at,
        lane.attempts,
        lane.failing_since,
        lane.next_try_at,
        None,
        lane.error,
    )


def joined(
    subscription: Subscription,
    status: Status,
    lanes: Sequence[LaneSummary],
    *,
    is_unowned: bool,
    has_told_all: bool,
    last_success_at: float | None,
    slow_start: SlowStart | None = None,
    dead_letter_runs: Collection[DeadLetterRun] = (),
    pending: Collection[SourcePartition] = (),
    unowned: Collection[SourcePartition] = (),
) -> SubscriptionState:
    """The state of a subscription.

    Args:
        subscription: the newest revision of the subscription.
        status: the desired status at the current time.
        lanes: the lanes of the subscription that have a row or are announced.
        is_unowned: whether a partition without such a lane certainly has no owner, and may have events of the
            subscription.
        has_told_all: whether the workers have announced every lane with waiting events.
        last_success_at: the time of the last delivery that a worker announced.
        slow_start: the limited rate of its receiver, which delays retries too.
        dead_letter_runs: its last dead letters that each worker announced.
        pending: the partitions whose owners have not carried out a command yet. The numbers of waiting events in these
            partitions are unknown.
        unowned: the partitions that certainly have no owner.
    """
    if pending:
        lanes = [_uncounted(lane) if (lane.topic, lane.partition) in pending else lane for lane in lanes]
    worst = min(lanes, key=lambda lane: urgency(lane.state), default=None)
    state: State = "live" if worst is None else worst.state
    if is_unowned and urgency(state) > urgency("unowned"):
        state = "unowned"
    if status is not Status.STARTED:
        state = STATE_OF[status]
    successes = [at for at in (last_success_at, *(lane.last_success_at for lane in lanes)) if at is not None]
    is_known = has_told_all and not is_unowned and not pending
    wants_all = subscription.desired_status is DesiredStatus.DELIVER
    is_closed = subscription.desired_status is DesiredStatus.CLOSED
    concerned = [lane for lane in lanes if lane.state == state]
    found = SubscriptionState(
        id=subscription.id,
        state=state,
        revision=subscription.revision,
        host=shown_address(subscription.url),
        qos=subscription.qos.value,
        last_success_at=max(successes, default=None),
        dead_letter_run=_since_success(dead_letter_runs, successes),
        waiting=_sum((lane.waiting for lane in lanes), is_known=is_known),
        waiting_at_most=_sum((lane.waiting_at_most for lane in lanes), is_known=is_known),
        oldest_waiting_at=min((at for lane in lanes if (at := lane.oldest_event_at) is not None), default=None),
        slow_start=slow_start,
        lacks_worker=state == "unowned"
        or (bool(concerned) and all((lane.topic, lane.partition) in unowned for lane in concerned)),
        begins_at=subscription.starting_at if status is Status.PAUSED and wants_all else None,
        ended_at=subscription.ending_at if status is Status.CLOSED and not is_closed else None,
        problem=subscription.problem,
        metadata=subscription.metadata,
        lanes=tuple(lanes),
    )
    if worst is None or worst.state != state:
        return found
    return replace(
        found,
        cause=worst.cause,
        error=worst.error,
        attempts=worst.attempts,
        failing_since=worst.failing_since,
        next_try_at=_next_try_at(worst, slow_start),
        problem=found.problem or (worst.error.message if worst.state == "broken" and worst.error else None),
    )


def _since_success(runs: Collection[DeadLetterRun], successes: Collection[float]) -> DeadLetterRun | None:
    """The dead letters of all workers since the last delivery; None if there are none.

    If the delivery is within a worker's run, only the last dead letter of this run certainly followed it.
    """
    last = max(successes, default=0.0)
    found = [run if last < run.since else replace(run, count=1, since=run.at) for run in runs if last <= run.at]
    if not found:
        return None
    newest = max(found, key=lambda run: run.at)
    return replace(newest, count=sum(run.count for run in found), since=min(run.since for run in found))


def pending_places(
    subscription: Subscription, rows: Mapping[SourcePartition, SeenRow], counts: Mapping[str, int]
) -> Collection[SourcePartition]:
    """The partitions whose owners have not carried out a command of the subscription yet.

    Args:
        subscription: the newest revision of the subscription.
        rows: the rows of its lanes.
        counts: the number of partitions of each source topic.
    """
    if not subscription.commands:
        return ()
    places = {*rows, *((topic, number) for topic, count in counts.items() for number in range(count))}
    found = {place: rows[place].row if place in rows else None for place in places}
    return [
        place
        for place, row in found.items()
        if not isinstance(row, UnreadableRow) and pending_in(subscription, *place, row) is not None
    ]


def _uncounted(lane: LaneSummary) -> LaneSummary:
    return replace(lane, waiting=None, waiting_at_most=None)


def _next_try_at(lane: LaneSummary, slow_start: SlowStart | None) -> float | None:
    if lane.state != "retrying" or lane.next_try_at is None or slow_start is None:
        return lane.next_try_at
    return max(lane.next_try_at, slow_start.until)


def _sum(counts: Iterable[int | None], *, is_known: bool) -> int | None:
    found = list(counts)
    return None if None in found or not is_known else sum(count for count in found if count is not None)


# -- why it fails --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Why a subscription fails, or is behind. Failures with equal reasons form a group.

    Attributes:
        kind: the kind of the cause; while an event is retried, the kind that a FAILURE would have.
        message: the error without the parts that differ between subscriptions.
    """

    state: State
    kind: str
    message: str
    example: str
    since: float | None

    @property
    def is_failure(self) -> bool:
        """Whether the subscription fails. One that is only behind does not, unless all its events are dead-lettered."""
        return self.state in _FAILING or self.kind == ALL_DEAD_LETTERED


def reason_of(
    found: Iterable[SeenRow | AnnouncedLane],
    runs: Collection[DeadLetterRun] = (),
    last_success_at: float | None = None,
) -> FailureReason | None:
    """Why the most urgent lane fails, retries or is behind; None without such a lane.

    If no lane fails or retries, the reason is the run of dead letters, provided that it is long enough. The owners of
    partitions are not considered.

    Args:
        found: the lanes.
        runs: the last dead letters that each worker announced.
        last_success_at: the time of the last delivery that a worker announced.
    """
    lanes = list(found)
    reasons = [reason for each in lanes if (reason := _reason(each)) is not None]
    worst = min(reasons, key=lambda reason: urgency(reason.state), default=None)
    if not runs or (worst is not None and worst.is_failure):
        return worst
    successes = [at for at in (last_success_at, *map(_last_success_at, lanes)) if at is not None]
    run = _since_success(runs, successes)
    if run is None or run.count < LEAST_DEAD_LETTERS:
        return worst
    state: State = "live" if worst is None else worst.state
    return FailureReason(state, ALL_DEAD_LETTERED, shape(run.message), run.message, run.since)


def _last_success_at(found: SeenRow | AnnouncedLane) -> float | None:
    row = found.row if isinstance(found, SeenRow) else None
    return row.standing.last_success_at if isinstance(row, Cursor) and row.standing is not None else None


def _reason(found: SeenRow | AnnouncedLane) -> FailureReason | None:
    if isinstance(found, AnnouncedLane):
        return None if found.error is None else _of_error("retrying", found.error, found.failing_since)
    row = found.row
    if isinstance(row, UnreadableRow):
        message = unreadable(row)
        return FailureReason("broken", "cursor", shape(message), message, found.at)
    state = state_of_row(row)
    if state in {"live", "paused", "stopped", "closed"}:
        return None
    if row.cause is not None:
        cause = row.cause
        since = cause.at if cause.attempts is None else cause.attempts.since
        return FailureReason(state, cause.kind, shape(cause.message), cause.message, since)
    if row.error is not None:
        return _of_error(state, row.error, row.first_attempt_at)
    return FailureReason(state, state, "", "", row.first_attempt_at)


def _of_error(state: State, error: FailedAttempt, since: float | None) -> FailureReason:
    kind = "exception" if error.status is None else "server-error" if error.status >= SERVER_ERRORS else "rejected"
    return FailureReason(state, kind, shape(error.message), error.message, since)


def unreadable(row: UnreadableRow) -> str:
    """What is wrong with a lane whose row can't be read."""
    return f"its cursor row can't be read: {row.reason}"


# A host can match only from its first character on: a search from every character of a long text would be slow.
_DIFFERING: Final = re.compile(
    r"""'[^']*'|"[^"]*"|(?:\[[0-9a-fA-F:.]+\]|(?<![\w.-])[\w.-]+)(?::\d+)+\b|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b|(?<![\w.])\d+(?:\.\d+)*"""
)
_STATUS_CODE: Final = re.compile(r"answered (\d{3})\b")


def shape(message: str) -> str:
    """A message with `…` for the parts that vary: quoted texts, addresses, ids, and numbers except HTTP status codes.

    Only the beginning of the message is read, because a forged row may have a message of any length.
    """
    return _shape(message[:LONGEST_SHAPED])


@lru_cache(maxsize=4_096)
def _shape(message: str) -> str:
    status = _STATUS_CODE.search(message)
    found = _DIFFERING.sub("…", message)
    return found if status is None else found.replace("answered …", status.group(), 1)
