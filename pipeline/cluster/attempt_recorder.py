"""Records the results of attempts and of events, as an observer of the core, until `AttemptLog` takes the results.

For a delivery, the recorder only appends two numbers to a list, which takes half a microsecond. Records are built when
the results are taken. Deliveries never wait for the log. Memory is bounded: results that do not fit are dropped and
counted.
"""

from collections import defaultdict
from functools import lru_cache
from typing import Final

from pipeline.cluster.attempts import (
    EventPosition,
    LogMode,
    Lost,
    Range,
    RecordedDecision,
    Result,
    Results,
    compacted,
    expanded,
    key_of,
    parse_id,
)
from pipeline.core.clock import Clock
from pipeline.core.log_bounds import LARGEST_OFFSET, Break
from pipeline.core.model import Cause, Event
from pipeline.core.observer import DropRule, Observer
from pipeline.core.outcome import (
    Delivered,
    Outcome,
    Rejected,
    ServerError,
    describe,
    http_status,
)
from pipeline.core.policy import DeadLetter, Decision, Drop, Retry, Settle, Stop
from pipeline.core.redaction import mask_cut, shown_host
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import FIRST_ID, WebhookIds

LATE_SECONDS: Final = 60.0
"""The age of events in seconds from which their results have the key of late events."""
MOST_OFFSETS: Final = 20_000
"""The largest number of short results in memory, enough for about 100,000 deliveries a second."""
MOST_ENTRIES: Final = 2_000
"""The largest number of long results in memory; each has at most 2 KiB."""
RECORD_WEIGHT: Final = 20_000
RUN_WEIGHT: Final = 10
ENTRY_WEIGHT: Final = 150
"""The size of a record, a run and an entry, each in units of one offset. A full record has about 250 KiB."""
MOST_CHARACTERS: Final = 512
"""Characters of an error or a response that are kept."""

_Key = tuple[str, int, bool]
"""Source topic, its partition, and whether the events were late."""

_host: Final = lru_cache(maxsize=10_000)(shown_host)


class AttemptRecorder:
    """An observer that records results and forwards every call to another observer.

    Args:
        ids: verifies the webhook-id with which an event was first sent.
        worker: the name of this process in the log.
        clock: tells the time of results.

    Attributes:
        missing: how many results were not written so far.
    """

    def __init__(
        self,
        observer: Observer,
        ids: WebhookIds,
        *,
        worker: str,
        mode: LogMode,
        clock: Clock,
    ) -> None:
        # These calls are only forwarded.
        self.attempt_started = observer.attempt_started
        self.attempt_abandoned = observer.attempt_abandoned
        self.withheld = observer.withheld
        self.throttled = observer.throttled
        self.settled = observer.settled
        self.committed = observer.committed
        self.not_opened = observer.not_opened
        self.rebalanced = observer.rebalanced
        self.probe_failed = observer.probe_failed
        self.subscription_recovered = observer.subscription_recovered
        self.partition_lost = observer.partition_lost
        self._observer = observer
        self._attempted = observer.attempted
        self._ids = ids
        self._worker = worker
        self._logs_first = mode == "all"
        self._clock = clock
        self._late_before_ms = (clock.now() - LATE_SECONDS) * 1000
        self._delivered: dict[tuple[str, int, bool, str, str, int, int], list[int]] = {}
        self._settled: defaultdict[tuple[_Key, str | None, RecordedDecision, str], list[int]] = defaultdict(list)
        self._entries: defaultdict[_Key, list[Result]] = defaultdict(list)
        self._ranges: defaultdict[_Key, list[Range]] = defaultdict(list)
        self._offsets = self._entry_count = 0
        self._undecided: tuple[Event, Result] | None = None
        self._lost: dict[tuple[str, int], Lost] = {}
        self.missing = 0

    # --------------------------------------------------------------- what the core reports

    def attempted(
        self, subscription: Subscription, event: Event, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """See `Observer`."""
        self._attempted(subscription, event, attempt, outcome, seconds)
        if type(outcome) is not Delivered:
            self._add_failure(subscription, event, attempt, outcome, seconds)
            return
        if event.headers and (first := self._redriven_from(event)) is not None:
            result = self._result_of(subscription, event, attempt, outcome, seconds=seconds, first=first)
            self._add_entry((first[0], first[1], True), result)
            return
        if attempt == 1 and not self._logs_first:
            return
        key = (
            event.topic,
            event.partition,
            event.timestamp < self._late_before_ms,
            subscription.id,
            subscription.url,
            attempt,
            outcome.status,
        )
        if self._offsets >= MOST_OFFSETS:
            self._lose(event.topic, event.partition, event.offset)
            return
        self._offsets += 1
        run = self._delivered.get(key)
        if run is None:
            run = self._delivered[key] = []
        run.append(event.offset)
        run.append(int(seconds * 1000))

    def decided(self, event: Event, decision: Decision) -> None:
        """See `Observer`. The core calls it immediately after `attempted`."""
        self._observer.decided(event, decision)
        undecided, self._undecided = self._undecided, None
        if undecided is not None and undecided[0] is event:
            _decide(undecided[1], decision)

    def dropped(
        self,
        rule: DropRule,
        count: int = 1,
        *,
        subscription: str | None = None,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        since: int | None = None,
    ) -> None:
        """See `Observer`."""
        self._observer.dropped(
            rule, count, subscription=subscription, topic=topic, partition=partition, offset=offset, since=since
        )
        if topic is None or partition is None or offset is None:
            return
        decision: RecordedDecision = "skipped" if rule == "skipped" else "dropped"
        if since is not None or count > 1:
            first = offset + 1 - count if since is None else since
            self._add_range((topic, partition), (subscription, decision, rule, max(0, first), offset))
        else:
            self._settle((topic, partition, True), subscription, decision, rule, offset)

    def log_broken(self, topic: str, partition: int, found: Break, *, subscription: str | None = None) -> None:
        """See `Observer`."""
        self._observer.log_broken(topic, partition, found, subscription=subscription)
        if found.lost:
            first = found.goes_on_at - found.lost
            self._add_range(
                (topic, partition), (subscription, "dropped", "retention", max(0, first), found.goes_on_at - 1)
            )

    def dead_lettered(self, reason: str, *, subscription: str | None, event: Event) -> None:
        """See `Observer`."""
        self._observer.dead_lettered(reason, subscription=subscription, event=event)
        topic, partition, offset = self._redriven_from(event) or (event.topic, event.partition, event.offset)
        is_late = partition != event.partition or offset != event.offset or event.timestamp < self._late_before_ms
        self._settle((topic, partition, is_late), subscription, "dead-lettered", reason, offset)

    def subscription_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """See `Observer`. If an attempt led to the failure, its result exists already."""
        self._observer.subscription_failed(subscription, topic, partition, cause)
        if cause.attempts is not None and cause.kind != "dead-letter":
            return
        host, error = _host(subscription.url), mask_cut(cause.message, MOST_CHARACTERS)
        result = Result(subscription.id, cause.offset, cause.at, "failure", reason=cause.kind, host=host, error=error)
        self._add_entry((topic, partition, True), result)

    # --------------------------------------------------------------- the results

    def _add_failure(
        self, subscription: Subscription, event: Event, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        first = self._redriven_from(event)
        if self._entry_count >= MOST_ENTRIES:  # checked first, because building a result takes time
            self._lose(*(first or (event.topic, event.partition, event.offset)))
            return
        result = self._result_of(subscription, event, attempt, outcome, seconds=seconds, first=first)
        is_late = event.timestamp < self._late_before_ms
        self._add_entry(
            (event.topic, event.partition, is_late) if first is None else (first[0], first[1], True), result
        )
        self._undecided = event, result

    def _result_of(
        self,
        subscription: Subscription,
        event: Event,
        attempt: int,
        outcome: Outcome,
        *,
        seconds: float,
        first: EventPosition | None,
    ) -> Result:
        status, response = http_status(outcome), None
        if isinstance(outcome, Rejected | ServerError) and outcome.response:
            response = mask_cut(outcome.response.decode("utf-8", "replace"), MOST_CHARACTERS)
        return Result(
            subscription.id,
            event.offset if first is None else first[2],
            self._clock.now(),
            "delivered" if isinstance(outcome, Delivered) else None,
            None if first is None else (event.topic, event.partition, event.offset),
            None,
            attempt,
            _host(subscription.url),
            status,
            int(seconds * 1000),
            mask_cut(describe(outcome), MOST_CHARACTERS) if status is None else None,
            response,
        )

    def _redriven_from(self, event: Event) -> EventPosition | None:
        """The position of the event before its first redrive; None if it was never redriven."""
        for name, _ in event.headers:
            if name == FIRST_ID:
                break
        else:
            return None
        first = self._ids.first_of(event)
        position = None if first is None else parse_id(first)
        return None if position == (event.topic, event.partition, event.offset) else position

    def _add_entry(self, key: _Key, result: Result) -> None:
        if self._entry_count >= MOST_ENTRIES:
            self._lose(key[0], key[1], result.offset or 0)
            return
        self._entry_count += 1
        self._entries[key].append(result)

    def _settle(
        self, key: _Key, subscription: str | None, decision: RecordedDecision, reason: str, offset: int
    ) -> None:
        if self._offsets >= MOST_OFFSETS:
            self._lose(key[0], key[1], offset)
            return
        self._offsets += 1
        self._settled[key, subscription, decision, reason].append(offset)

    def _add_range(self, place: tuple[str, int], found: Range) -> None:
        *_, first, last = found
        if last < first:
            return
        if self._entry_count >= MOST_ENTRIES:
            self._lose(*place, last, first)
            return
        self._entry_count += 1
        self._ranges[(*place, True)].append(found)

    def _lose(self, topic: str, partition: int, last: int, first: int | None = None) -> None:
        self.missing += 1
        self._add_lost(topic, partition, (1, last if first is None else first, last))

    def _add_lost(self, topic: str, partition: int, lost: Lost) -> None:
        count, first, last = self._lost.get((topic, partition), (0, LARGEST_OFFSET, 0))
        self._lost[topic, partition] = count + lost[0], min(first, lost[1]), max(last, lost[2])

    # --------------------------------------------------------------- the log takes them

    def take(self) -> list[tuple[bytes, Results]]:
        """Remove all results, and return them as records of the log with their keys."""
        now = self._clock.now()
        self._late_before_ms = (now - LATE_SECONDS) * 1000
        self._undecided = None
        made = _Records(self._worker, now)
        delivered, self._delivered = self._delivered, {}
        for (topic, partition, is_late, name, url, attempt, status), run in delivered.items():
            offsets, times = run[::2], run[1::2]
            results = made.of((topic, partition, is_late), len(offsets))
            results.delivered.append((name, _host(url), attempt, status, compacted(offsets), times))
        settled, self._settled = self._settled, defaultdict(list)
        for (key, subscription, decision, reason), offsets in settled.items():
            made.of(key, len(offsets)).settled.append((subscription, decision, reason, compacted(offsets)))
        entries, self._entries = self._entries, defaultdict(list)
        for key, several in entries.items():
            for result in several:
                made.of(key, ENTRY_WEIGHT).entries.append(result)
        ranges, self._ranges = self._ranges, defaultdict(list)
        for key, more in ranges.items():
            made.of(key, ENTRY_WEIGHT * len(more)).ranges += more
        lost, self._lost = self._lost, {}
        for (topic, partition), found in lost.items():
            made.of((topic, partition, True), 1).lost.append(found)
        self._offsets = self._entry_count = 0
        return made.records

    def lose(self, results: Results) -> None:
        """Count results that were not written. The next record of their partition contains the count."""
        offsets = [offset for *_, run, _ in results.delivered for offset in expanded(run)]
        offsets += [offset for *_, run in results.settled for offset in expanded(run)]
        offsets += [result.offset for result in results.entries if result.offset is not None]
        offsets += [offset for *_, first, last in results.ranges for offset in (first, last)]
        if offsets:
            self.missing += len(offsets)
            self._add_lost(results.topic, results.partition, (len(offsets), min(offsets), max(offsets)))
        for lost in results.lost:
            self._add_lost(results.topic, results.partition, lost)


class _Records:
    """Records under construction. When the last record of a key is full, a new one begins."""

    def __init__(self, worker: str, at: float) -> None:
        self._worker = worker
        self._at = at
        self._open: dict[_Key, tuple[Results, int]] = {}
        self.records: list[tuple[bytes, Results]] = []

    def of(self, key: _Key, weight: int) -> Results:
        """The record with this key that has room for *weight* more units."""
        results, filled = self._open.get(key, (None, RECORD_WEIGHT))
        if results is None or filled + weight > RECORD_WEIGHT:
            topic, partition, is_late = key
            results, filled = Results(self._worker, topic, partition, self._at), RUN_WEIGHT
            self.records.append((key_of(topic, partition, is_late=is_late), results))
        self._open[key] = results, filled + weight + RUN_WEIGHT
        return results


def _decide(result: Result, decision: Decision) -> None:
    """Add to *result* the decision about its attempt."""
    match decision:
        case Retry(after_seconds):
            result.decision, result.next_at = "retry", result.at + after_seconds
        case DeadLetter(reason):
            result.decision, result.reason = "dead-letter", reason
        case Stop(kind):
            result.decision, result.reason = "failure", kind
        case Drop():
            result.decision, result.reason = "dropped", "not-retried"
        case Settle():
            pass
