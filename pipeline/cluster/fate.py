"""Concludes what became of an event from the attempt log and the position of the lane. Pure.

If the log may be incomplete, a missing entry proves nothing. The answer is never a guess, but "unknown" with the
reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pipeline.cluster.attempts import Entry, LogMode, Results, Session
from pipeline.cluster.joining import state_of_row
from pipeline.core.clock import rfc3339
from pipeline.core.model import Cause, Cursor, Event, Status

FateStatus = Literal["delivered", "waiting", "dead-lettered", "skipped", "dropped", "filtered", "expired", "unknown"]
"""filtered: according to its key or the filter, the event is not for the subscription. expired: the log begins after
the event."""

SILENCE_SECONDS: Final = 65.0
"""A worker records at least twice in this time that it is logging."""
FLUSH_SECONDS: Final = 35.0
"""After this time, a worker's results are in the log, or the log contains the number of lost results."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an event for one subscription.

    Attributes:
        subscription: the id of the subscription; None if the event was for no known subscription.
        at: the time, Unix seconds.
        why: the rule of a drop, the reason of a dead letter, or an explanation.
        entries: the log's entries about the event and the subscription, oldest first.
    """

    webhook_id: str
    subscription: str | None
    status: FateStatus
    at: float | None = None
    why: str | None = None
    entries: tuple[Entry, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """The fate as JSON."""
        return {
            "webhookId": self.webhook_id,
            "subscription": self.subscription,
            "fate": self.status,
            "at": None if self.at is None else rfc3339(self.at, "milliseconds"),
            "why": self.why,
            "entries": [each.as_document() for each in self.entries],
        }


@dataclass(slots=True)
class _Worker:
    """What a worker recorded about its own logging."""

    since: float
    last: float
    mode: LogMode | None = None
    is_closed: bool = False


@dataclass(slots=True)
class EventHistory:
    """The log's records about one event.

    Attributes:
        offset: the offset in the event's webhook-id.
        entries, ranges: sorted by time.
        lost: dropped results that may have been about the event: pairs of a number and the time when the worker
            recorded it.
        begins_at: the time of the oldest record, if older records were deleted and the event is older.
        began_at: when the first worker began to log, if the event is older.
        read_to: the time of the last record that was read, if the time limit ended the reading.
        unreadable: how many records could not be read.
        problem: why the log could not be read.
    """

    offset: int
    entries: list[Entry] = field(default_factory=list)
    ranges: list[Entry] = field(default_factory=list)
    lost: list[tuple[int, float]] = field(default_factory=list)
    begins_at: float | None = None
    began_at: float | None = None
    read_to: float | None = None
    unreadable: int = 0
    problem: str | None = None
    _workers: dict[str, _Worker] = field(default_factory=dict)

    def add(self, record: Results | Session) -> None:
        """Add the next record."""
        since = record.since if isinstance(record, Session) else record.at
        worker = self._workers.setdefault(record.worker, _Worker(since, record.at))
        worker.last = max(worker.last, record.at)
        if isinstance(record, Session):
            worker.since, worker.mode = record.since, record.mode
            worker.is_closed = worker.is_closed or record.is_closed
            return
        self.entries += record.of(offset=self.offset)
        self.ranges += record.ranges_with(self.offset)
        self.lost += [(count, record.at) for count, first, last in record.lost if self._may_concern(first, last)]

    def _may_concern(self, first: int, last: int) -> bool:
        return first <= self.offset <= last

    @property
    def logs_all(self) -> bool:
        """Whether all workers log deliveries at the first attempt."""
        modes = {worker.mode for worker in self._workers.values() if worker.mode is not None}
        return modes == {"all"}

    def gap(self, event_at: float | None, now: float, *, is_settled: bool) -> str | None:
        """Why the log may lack entries about an event of this time; None if the log is complete."""
        if self.problem is not None:
            return f"the attempt log can't be read: {self.problem}"
        if self.read_to is not None:
            return f"the search reached its time limit after reading the log up to {_time(self.read_to)}"
        if is_settled and self.began_at is not None:
            return f"its results may be older than the attempt log, which begins at {_time(self.began_at)}"
        return self._gap_of_writing(event_at, now)

    def _gap_of_writing(self, event_at: float | None, now: float) -> str | None:
        if self.lost:
            count, at = self.lost[0]
            return f"{count} entries of the attempt log were dropped before {_time(at)}, perhaps one of this event"
        for name, worker in self._workers.items():
            if self._was_killed(worker, now) and (event_at is None or event_at <= worker.last + FLUSH_SECONDS):
                return f"the worker {name} was killed after {_time(worker.last)}, and its last results are lost"
        if self.unreadable:
            return f"{self.unreadable} records of the attempt log can't be read"
        unlogged = "deliveries at the first attempt are not logged, or were not logged at that time"
        return None if self.logs_all else unlogged

    def _was_killed(self, worker: _Worker, now: float) -> bool:
        has_successor = any(other.since > worker.last for other in self._workers.values())
        return not worker.is_closed and (has_successor or worker.last < now - SILENCE_SECONDS)


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """The progress of a partition of the source topic.

    Attributes:
        begin, end: the first offset and the end of its log.
        committed: the committed offset of the group; None if there is none.
        ahead: the settled offsets beyond `committed`, as bits (core/ahead.py).
        event: the record at the offset; None if it was deleted or is never delivered, such as a control record.
        rows: the cursors of subscriptions, by id; None for a row that can't be read.
    """

    begin: int
    end: int
    committed: int | None
    ahead: int
    event: Event | None
    rows: Mapping[str, Cursor | None]

    def is_settled(self, subscription: str | None, offset: int) -> bool | None:
        """Whether the event is settled; None if the answer depends on a row that can't be read."""
        if subscription is not None and subscription in self.rows:
            row = self.rows[subscription]
            return None if row is None else offset < row.next
        if self.committed is None:
            return False
        return offset < self.committed or bool(self.ahead >> (offset - self.committed) & 1)

    def keeps(self, subscription: str | None, offset: int, *, is_ordered: bool) -> Cursor | None:
        """The row of the subscription, if the subscription has stopped and the event is certainly still waiting."""
        row = self.rows.get(subscription or "")
        if row is None or row.status is Status.STARTED:
            return None
        return row if row.next == offset or (is_ordered and row.next < offset) else None


@dataclass(frozen=True, slots=True)
class Case:
    """One event and one subscription.

    Attributes:
        is_wanted: whether the event is for the subscription, by its current filter; None if unknown.
        is_anothers: whether the key of the event names another subscription.
        is_ordered: whether the subscription certainly gets its events in order.
        now: the current time, Unix seconds.
        why_not: why the event is not for the subscription.
        idle: why the subscription, as it was applied, delivers nothing at present; None if it should deliver.
    """

    webhook_id: str
    subscription: str | None
    history: EventHistory
    progress: PartitionProgress
    is_wanted: bool | None
    is_anothers: bool
    is_ordered: bool
    now: float
    why_not: str = "the filter does not match the event"
    idle: str | None = None


def conclude(case: Case) -> Fate:
    """What became of the event."""
    entries = sorted(
        (each for each in case.history.entries if each.subscription == case.subscription),
        key=lambda each: each.result.at,
    )
    status, at, why = _conclude(case, entries)
    return Fate(case.webhook_id, case.subscription, status, at, why, tuple(entries))


def _conclude(case: Case, entries: Sequence[Entry]) -> tuple[FateStatus, float | None, str | None]:
    found = _ended(entries) or _certain(case)
    if found is not None:
        return found
    progress, offset = case.progress, case.history.offset
    is_settled = progress.is_settled(case.subscription, offset)
    if is_settled is None:
        return "unknown", None, "its cursor row can't be read"
    event_at = None if progress.event is None else progress.event.timestamp / 1000
    gap = case.history.gap(event_at, case.now, is_settled=is_settled)
    return _settled(case, gap) if is_settled else _open(case, entries, gap)


def _certain(case: Case) -> tuple[FateStatus, float | None, str | None] | None:
    """A conclusion that is certain even if the log is incomplete; None if there is none."""
    offset, progress = case.history.offset, case.progress
    if case.is_anothers:
        return "filtered", None, "its key names another subscription"
    if offset >= progress.end:
        return "unknown", None, f"there is no such event yet: its partition ends at {progress.end}"
    row = progress.keeps(case.subscription, offset, is_ordered=case.is_ordered)
    if row is None:
        return None
    if case.is_wanted is False:  # the cursor of a stopped lane may be at an event of another subscription
        return "filtered", None, case.why_not
    return "waiting", None, _waits_for(case, row)


def _waits_for(case: Case, row: Cursor) -> str:
    """A sentence about the event that has to be delivered first, if any, and about the subscription's state."""
    is_behind = case.is_ordered and row.next < case.history.offset
    ahead = f"it waits behind {case.webhook_id.rpartition('-')[0]}-{row.next}; " if is_behind else ""
    return f"{ahead}the subscription {_stands(row, case.idle)}"


def _stands(row: Cursor, idle: str | None) -> str:
    if row.status is Status.FAILURE:
        # If the subscription can't be used, `idle` and the cause have the same reason: say it once.
        is_said = idle is None or (row.cause is not None and idle.endswith(row.cause.message))
        return f"is in FAILURE{_why_failed(row.cause)}" + ("" if is_said else f"; it {idle}")
    if idle is not None:
        return idle
    if row.status is not Status.STARTED:
        return f"is {row.status.value}; no worker has carried out its latest change yet"
    if row.error is None:
        return f"is {state_of_row(row)}"
    return f"is retrying: {_failed(row.attempt, row.error.message, row.not_before or None)}"


def _why_failed(cause: Cause | None) -> str:
    if cause is None:
        return ""
    probe_at = None if cause.probes is None else cause.probes.next_at
    then = "" if probe_at is None else f"; it is probed next at {_time(probe_at)}"
    return f" since {_time(cause.at)}: {cause.message}{then}"


def _failed(attempt: int | None, why: str, next_at: float | None) -> str:
    due = "" if next_at is None else f"; the next one is due at {_time(next_at)}"
    return f"attempt {attempt} failed: {why}{due}"


def _ended(entries: Sequence[Entry]) -> tuple[FateStatus, float, str | None] | None:
    finals = [each.result for each in entries if each.is_final]
    deliveries = [result for result in finals if result.decision == "delivered"]
    for result in (deliveries or finals)[-1:]:
        match result.decision:
            case "delivered" | "dead-lettered" | "dropped" | "skipped":
                return result.decision, result.at, result.reason
            case _:
                pass
    return None


def _open(case: Case, entries: Sequence[Entry], gap: str | None) -> tuple[FateStatus, float | None, str | None]:
    if gap is not None:
        return "unknown", None, f"it is still waiting, or was done after the last commit: {gap}"
    if case.is_wanted is False:
        return "filtered", None, case.why_not
    last = entries[-1].result if entries else None
    if last is not None:
        what = f"status {last.status}" if last.error is None else last.error
        if case.idle is not None:
            return "waiting", None, f"{_failed(last.attempt, what, None)}; the subscription {case.idle}"
        return "waiting", None, _failed(last.attempt, what, last.next_at)
    row = case.progress.rows.get(case.subscription or "")
    if row is not None:
        return "waiting", None, _waits_for(case, row)
    return "waiting", None, "no attempt has ended yet" if case.idle is None else f"the subscription {case.idle}"


def _settled(case: Case, gap: str | None) -> tuple[FateStatus, float | None, str | None]:
    begins_at = case.history.begins_at
    if begins_at is not None:
        return "expired", None, f"it is done; the attempt log begins at {_time(begins_at)}, after the event"
    if gap is not None:
        return "unknown", None, f"it is done, but {gap}"
    for found in case.history.ranges[-1:]:
        if found.subscription in {None, case.subscription}:
            return "dropped", found.result.at, found.result.reason
    if case.is_wanted is False:
        return "filtered", None, case.why_not
    return "unknown", None, "it is done, but the attempt log has no entry about it"


def _time(moment: float) -> str:
    return rfc3339(moment) or "an unknown time"
