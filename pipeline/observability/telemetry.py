"""Counts and times deliveries, and logs them.

The delivery path calls this module for every event, so counters are plain integers, which prometheus.py converts at
each scrape. All calls come from one event loop, so there are no locks.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar, get_args

from pipeline.core.log_bounds import Break, BreakKind
from pipeline.core.model import Cause, Event
from pipeline.core.observer import DropRule, RecoveredBy, Settlement, Throttle
from pipeline.core.outcome import Delivered, Outcome, Rejected, ServerError, describe
from pipeline.core.policy import CauseKind, Decision, Reason
from pipeline.core.redaction import shown_host
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.observability.dead_letter_runs import DeadLetterRuns
from pipeline.observability.instruments import AGE_BOUNDS, Histogram, LineLimit, MinuteRate, Monotonic, OffsetRanges
from pipeline.observability.logs import Facts
from pipeline.observability.outcome_names import AttemptOutcome, outcome_name
from pipeline.observability.shown import failure_facts

logger = logging.getLogger(__name__)

ProbeResult = Literal["failed", "recovered"]
"""The result of a probe of a subscription in FAILURE."""

StatusClass = Literal["1xx", "2xx", "3xx", "4xx", "5xx", "none"]
"""The class of an answer's HTTP status. 5xx: all from 500 on; none: the receiver did not answer."""

TokenResult = Literal["ok", "refused", "unavailable"]
"""The result of a request to a token endpoint."""

LOG_INTERVAL_SECONDS: Final = 10.0
"""The shortest time between two lines of one kind and subscription.

A line says how many lines were suppressed before it.
"""

WARNING_SECONDS: Final = 3600.0
"""How long a worker warns about a break in a log."""
BREAKS: Final[Mapping[BreakKind, str]] = {
    "recreated": "the source topic was deleted and created again; delivering the new topic from its beginning",
    "truncated": "a position was beyond the end of the log; continuing from the end",
    "retention": "events were deleted before they were delivered; continuing from the beginning of the log",
}

_REFUSALS: Final[Mapping[int, StatusClass]] = {3: "3xx", 4: "4xx"}

_Label = TypeVar("_Label", bound=str)


class Telemetry:
    """The counters of one worker since it started, and the log lines of its deliveries.

    Args:
        ids: returns the webhook-id of an event.
        monotonic: the clock for rates and for the limit on log lines.
        now: the clock for the age of events, Unix seconds.

    Attributes:
        in_flight: attempts under way.
        attempts: finished attempts by outcome.
        attempt_seconds: the durations of attempts.
        successes: the last delivery of each subscription, Unix seconds; the announcer removes them.
        dead_letter_runs: the subscriptions whose last events were dead-lettered.
        end_to_end_seconds: the times from the timestamps of events to their deliveries.
        throttles: attempts that had to wait for a rate or a slot, by reason.
        deliveries: settled events, by how they were settled.
        delivered_rate: deliveries per second over the last minute.
        drops: dropped events by rule.
        dead_letters: confirmed dead letters by reason.
        dead_letter_failures: failed writes of dead letters, which are retried.
        attempt_log_drops: entries missing from the attempt log because it could not be written.
        token_fetches: answers from token endpoints.
        headers_left_out: headers of records and subscriptions that were not sent.
        subscription_failures: lanes (one subscription in one partition) that went into FAILURE, by kind of cause.
        probes: probes of subscriptions in FAILURE, by result.
        rows: cursor rows written.
        withheld_attempts: attempts that waited because the lease had expired.
        commits: offset commits; each partition in a commit counts.
        rebalances, partitions_lost: changes of the assignment; partitions whose rows Kafka has fenced.
        notifications_dropped, spans_dropped: notifications that no outlet sent; spans that no collector accepted.
        log_breaks: stored positions that are no longer in the log, by cause.
    """

    def __init__(
        self,
        ids: WebhookIds | None = None,
        *,
        monotonic: Monotonic = time.monotonic,
        now: Callable[[], float] = time.time,
        spans_dropped: Callable[[], int] = int,
    ) -> None:
        self._ids = ids or WebhookIds()
        self.spans_dropped = spans_dropped
        self.in_flight = 0
        self.attempts: dict[AttemptOutcome, int] = _zeros(get_args(AttemptOutcome))
        self.attempt_seconds = Histogram()
        self.successes: dict[str, float] = {}
        self.dead_letter_runs = DeadLetterRuns()
        self.end_to_end_seconds = Histogram(AGE_BOUNDS)
        self.throttles: dict[Throttle, int] = _zeros(get_args(Throttle))
        self._refusals: dict[StatusClass, int] = _zeros(get_args(StatusClass))
        self.deliveries: dict[Settlement, int] = _zeros(get_args(Settlement))
        self.delivered_rate = MinuteRate(monotonic)
        self.drops: dict[DropRule, int] = _zeros(get_args(DropRule))
        self.dead_letters: Counter[str] = Counter(_zeros(get_args(Reason)))
        self.dead_letter_failures = 0
        self.attempt_log_drops = 0
        self.token_fetches: dict[TokenResult, int] = _zeros(get_args(TokenResult))
        self.headers_left_out = 0
        self.subscription_failures: Counter[str] = Counter(_zeros(get_args(CauseKind)))
        self.probes: dict[ProbeResult, int] = _zeros(get_args(ProbeResult))
        self.rows = 0
        self.withheld_attempts = 0
        self.commits = 0
        self.rebalances = self.partitions_lost = self.notifications_dropped = 0
        self.log_breaks: dict[BreakKind, int] = _zeros(get_args(BreakKind))
        self._deleted: defaultdict[tuple[str, int], OffsetRanges] = defaultdict(OffsetRanges)
        self._broken_logs: dict[tuple[str, int, BreakKind], float] = {}
        self._monotonic = monotonic
        self._now = now
        self._observe_age = self.end_to_end_seconds.observe  # looked up once, because it is called for each delivery
        self._lines = LineLimit(LOG_INTERVAL_SECONDS, monotonic=monotonic)

    def attempt_started(self) -> None:
        """A request is about to be sent."""
        self.in_flight += 1

    def attempt_abandoned(self) -> None:
        """An attempt was cancelled. Its outcome is unknown."""
        self.in_flight -= 1

    def attempted(
        self, subscription: Subscription, event: Event, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """The attempt with number *attempt* (from 1) ended as *outcome* after *seconds*."""
        self.in_flight -= 1
        self.attempt_seconds.observe(seconds)
        if type(outcome) is Delivered:
            self.attempts["delivered"] += 1
            now, timestamp = self._now(), event.timestamp
            self.successes[subscription.id] = now
            self.dead_letter_runs.end(subscription.id)
            if timestamp > 0:
                age = now - timestamp * 0.001
                self._observe_age(age if age > 0 else 0.0)  # the clock of a producer may be ahead
            if logger.isEnabledFor(logging.DEBUG):
                facts = self._attempt_facts(subscription, event, attempt, outcome, seconds)
                logger.debug(Facts("delivery.attempted", facts))
            return
        self.attempts[outcome_name(outcome)] += 1
        self.dead_letter_runs.failed(subscription.id, describe(outcome), subscription.revision)
        if isinstance(outcome, Rejected):
            self._refusals[_REFUSALS.get(outcome.status // 100, "1xx")] += 1
        suppressed = self._lines.passes(("attempted", subscription.id))
        if suppressed is not None:
            facts = self._attempt_facts(subscription, event, attempt, outcome, seconds)
            logger.info(Facts("delivery.attempted", {**facts, "suppressed": suppressed or None}))

    def on_subscription(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Forget a subscription that was deleted (None). A new one with the same id has dead letters of its own."""
        if subscription is None:
            self.dead_letter_runs.end(subscription_id)

    def decided(self, event: Event, decision: Decision) -> None:
        """Does nothing: the effects of the decision are counted."""

    def answers(self) -> dict[StatusClass, int]:
        """The number of finished attempts that sent the event, by class of the answer's status."""
        attempts = self.attempts
        return {
            **self._refusals,
            "2xx": attempts["delivered"],
            "5xx": attempts["server-error"],
            "none": attempts["failed"] + attempts["timed-out"],
        }

    def throttled(self, reason: Throttle) -> None:
        """An attempt has to wait for its rate or for a slot."""
        self.throttles[reason] += 1

    def settled(self, how: Settlement, count: int = 1) -> None:
        """*count* events are settled."""
        self.deliveries[how] += count
        if how == "delivered":
            self.delivered_rate.add(count)

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
        """*count* events were dropped by *rule*. *offset* is the last event's offset.

        An offset that retention deleted may be reported several times: for the group, and for each row at the offset.
        The offset is counted once, but each report is logged with its own number.
        """
        if rule == "retention" and topic is not None and partition is not None and offset is not None:
            self.drops[rule] += self._deleted[topic, partition].add(offset + 1 - count, offset + 1)
        else:
            self.drops[rule] += count
        facts = {
            "rule": rule,
            "subscription": subscription,
            "topic": topic,
            "partition": partition,
            "since": since,
            "offset": offset,
            "count": count,
        }
        self._warn("event.dropped", (rule, subscription), facts, count)

    def log_broken(self, topic: str, partition: int, found: Break, *, subscription: str | None = None) -> None:
        """A position of the group or of a subscription's row is no longer in the log of a partition."""
        self.log_breaks[found.kind] += 1
        self._broken_logs[topic, partition, found.kind] = self._monotonic()
        if found.kind == "recreated" and subscription is None:
            self._deleted.pop((topic, partition), None)  # the counted offsets were those of the former topic
        facts = {
            "kind": found.kind,
            "subscription": subscription,
            "topic": topic,
            "partition": partition,
            "offset": found.offset,
            "goes_on_at": found.goes_on_at,
        }
        self._warn("log.broken", ("log", found.kind, subscription, topic, partition), facts)
        if found.lost:
            last = found.goes_on_at - 1
            self.dropped(
                "retention", found.lost, subscription=subscription, topic=topic, partition=partition, offset=last
            )

    def warnings(self) -> list[str]:
        """Warnings about recent breaks in the log, one sentence each. The worker still delivers."""
        since = self._monotonic() - WARNING_SECONDS
        self._broken_logs = {found: at for found, at in self._broken_logs.items() if at > since}
        return [
            f"partition {partition} of {topic}: {BREAKS[kind]}" for topic, partition, kind in sorted(self._broken_logs)
        ]

    def withheld(self) -> None:
        """An attempt waits until the group confirms a heartbeat, because another worker may own the partition."""
        self.withheld_attempts += 1
        self._warn("deliveries.withheld", "lease", {"reason": "the group has confirmed no heartbeat for too long"})

    def dead_lettered(self, reason: str, *, subscription: str | None, event: Event) -> None:
        """The broker has confirmed the dead letter of *event*, which was for the subscription with this id."""
        self.dead_letters[reason] += 1
        self.dead_letter_runs.dead_lettered(reason, subscription, event, self._now())
        facts = {
            "subscription": subscription,
            "reason": reason,
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
        }
        self._log(logging.INFO, "event.dead-lettered", (reason, subscription), facts)

    def dead_letter_failed(self, error: str) -> None:
        """The write of a dead letter failed. It is retried, and the lane waits for it."""
        self.dead_letter_failures += 1
        self._warn("dead-letter.failed", "dead-letter", {"error": error})

    def notification_dropped(self, outlet: str, count: int, error: str) -> None:
        """An outlet dropped *count* notifications. If *count* is 0, an attempt failed and will be repeated."""
        self.notifications_dropped += count
        self._warn(
            "notification.dropped" if count else "notification.waits", outlet, {"outlet": outlet, "error": error}
        )

    def attempt_log_dropped(self, count: int, error: str) -> None:
        """*count* entries are missing from the attempt log. Deliveries continue."""
        self.attempt_log_drops += count
        self._warn("attempt-log.dropped", "attempt-log", {"count": count, "error": error})

    def token_fetched(self, result: TokenResult) -> None:
        """A request for an access token has ended."""
        self.token_fetches[result] += 1

    def header_left_out(self, subscription: str, name: str) -> None:
        """A request was sent without the header *name* of its record or of the subscription with this id."""
        self.headers_left_out += 1
        self._warn("header.left-out", subscription, {"subscription": subscription, "header": name})

    def subscription_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """A subscription went into FAILURE in a partition. Without probes, an operator has to act."""
        self.subscription_failures[cause.kind] += 1
        logger.warning(Facts("subscription.failed", failure_facts(subscription, topic, partition, cause)))

    def probe_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """A probe has not ended the FAILURE of a subscription."""
        self.probes["failed"] += 1
        facts = failure_facts(subscription, topic, partition, cause)
        self._log(logging.INFO, "subscription.probe-failed", (subscription.id, topic, partition), facts)

    def subscription_recovered(
        self, subscription: Subscription, topic: str, partition: int, cause: Cause, by: RecoveredBy
    ) -> None:
        """The FAILURE with this *cause* is over."""
        self.probes["recovered"] += by == "probe"
        logger.info(Facts("subscription.recovered", {"by": by, **failure_facts(subscription, topic, partition, cause)}))

    def partition_lost(self, topic: str, partition: int) -> None:  # noqa: ARG002 - the dispatcher logs it
        """Kafka has fenced the rows of a partition of this worker."""
        self.partitions_lost += 1

    def rows_written(self, count: int) -> None:
        """*count* cursor rows were committed to the cursor topic."""
        self.rows += count

    def committed(self, topic: str, partition: int, offset: int) -> None:
        """The group's offset of a partition was committed."""
        self.commits += 1
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(Facts("offset.committed", {"topic": topic, "partition": partition, "offset": offset}))

    def not_opened(self, topic: str, partition: int, error: str) -> None:
        """A partition of this worker could not be opened because of *error*. The worker tries again."""
        facts = {"topic": topic, "partition": partition, "error": error}
        self._warn("partition.not-opened", (topic, partition), facts)

    def rebalanced(self) -> None:
        """The assignment of this worker changed."""
        self.rebalances += 1

    def _attempt_facts(
        self, subscription: Subscription, event: Event, attempt: int, outcome: Outcome, seconds: float
    ) -> dict[str, object]:
        """Facts about an attempt, without body, headers and query."""
        status, error = None, None
        if isinstance(outcome, Delivered | Rejected | ServerError):
            status = outcome.status
        else:
            error = describe(outcome)
        return {
            "subscription": subscription.id,
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
            "webhook_id": self._ids.of(event),
            "attempt": attempt,
            "outcome": outcome_name(outcome),
            "status": status,
            "error": error,
            "seconds": round(seconds, 6),
            "host": shown_host(subscription.url),
        }

    def _warn(self, name: str, key: object, facts: Mapping[str, object], count: int = 1) -> None:
        self._log(logging.WARNING, name, key, facts, count)

    def _log(self, level: int, name: str, key: object, facts: Mapping[str, object], count: int = 1) -> None:
        suppressed = self._lines.passes((name, key), count)
        if suppressed is not None:
            logger.log(level, Facts(name, {**facts, "suppressed": suppressed or None}))


def _zeros(labels: tuple[_Label, ...]) -> dict[_Label, int]:
    """All labels with the count 0, so that alerts can use each series from the start."""
    return dict.fromkeys(labels, 0)
