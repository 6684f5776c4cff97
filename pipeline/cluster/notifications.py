"""Notifications for operators, as CloudEvents 1.0. `Notifier` makes them, as an observer of the core.

    subscription.failed, .recovered      a FAILURE began; a probe, a command or an edit has ended it
    subscription.disabled                its last probe has failed: nothing is tried until an operator acts
    subscription.losing-events           retention is about to delete events that were not delivered
    dead-letters.unavailable, .available dead letters can't be written; they can be written again
    worker.fenced                        a worker lost a partition, because Kafka refused its cursor rows

A subscription has lanes in several partitions. One notification is made when the first lane fails, and one when the
last lane has recovered.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pipeline.core.bounded import Bounded
from pipeline.core.clock import Clock, rfc3339
from pipeline.core.model import Cause, Event
from pipeline.core.observer import Observer, RecoveredBy
from pipeline.core.redaction import shown_host
from pipeline.core.subscription import Subscription
from pipeline.observability.instruments import LineLimit, Monotonic
from pipeline.observability.shown import shown_cause, shown_text

Kind = Literal[
    "subscription.failed",
    "subscription.recovered",
    "subscription.disabled",
    "subscription.losing-events",
    "dead-letters.unavailable",
    "dead-letters.available",
    "worker.fenced",
]
PREFIX: Final = "webhook-pipeline."
CONTENT_TYPE: Final = "application/cloudevents+json; charset=UTF-8"
MOST_SUBJECTS: Final = 10_000
"""How many subjects are remembered to avoid repeated notifications. With more subjects, some are repeated."""
AGAIN_SECONDS: Final = 60.0
"""The shortest time between two equal notifications of `tell_once`."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification for operators.

    Attributes:
        subject: the id of a subscription, "dead-letters", or the partition of a topic.
        at: the time, Unix seconds.
        data: JSON without secrets.
    """

    kind: Kind
    subject: str
    at: float
    data: Mapping[str, Any]
    id: str = field(default_factory=lambda: secrets.token_hex(16))


def cloud_event(notification: Notification, source: str) -> bytes:
    """A notification in the JSON format of CloudEvents 1.0. *source* is a URI reference to the worker."""
    event = {
        "specversion": "1.0",
        "id": notification.id,
        "source": source,
        "type": PREFIX + notification.kind,
        "subject": notification.subject,
        "time": rfc3339(notification.at, "milliseconds", "Z"),
        "datacontenttype": "application/json",
        "data": dict(notification.data),
    }
    return json.dumps(event, separators=(",", ":")).encode()


class Notifier:
    """An observer that makes notifications and forwards every call to another observer.

    Args:
        tell: called with each notification; must not wait.
        clock: tells the time of notifications.
        dead_letter_failed: called for each failed write of a dead letter; see `dead_letter_failed`.
        monotonic: a monotonic clock, which limits repeated notifications.
    """

    def __init__(
        self,
        observer: Observer,
        tell: Callable[[Notification], None],
        *,
        clock: Clock,
        dead_letter_failed: Callable[[str], None],
        monotonic: Monotonic,
    ) -> None:
        # These calls are only forwarded.
        self.attempt_started = observer.attempt_started
        self.attempt_abandoned = observer.attempt_abandoned
        self.attempted = observer.attempted
        self.decided = observer.decided
        self.withheld = observer.withheld
        self.throttled = observer.throttled
        self.settled = observer.settled
        self.dropped = observer.dropped
        self.log_broken = observer.log_broken
        self.committed = observer.committed
        self.not_opened = observer.not_opened
        self._observer = observer
        self._take = tell
        self._clock = clock
        self._dead_letter_failed = dead_letter_failed
        self._failed: Bounded[str, set[tuple[str, int]]] = Bounded(MOST_SUBJECTS)
        self._limit = LineLimit(AGAIN_SECONDS, most_keys=MOST_SUBJECTS, monotonic=monotonic)
        self._is_unwritable = False

    def tell(self, kind: Kind, subject: str, data: Mapping[str, Any]) -> None:
        """Send a notification at once."""
        self._take(Notification(kind, subject, self._clock.now(), data))

    def tell_once(self, kind: Kind, subject: str, data: Mapping[str, Any]) -> None:
        """Send a notification, if no equal one was sent within `AGAIN_SECONDS`."""
        if self._limit.passes((kind, subject)) is not None:
            self.tell(kind, subject, data)

    def on_subscription(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Forget a deleted subscription (None): its failures do not concern a new subscription with the same id."""
        if subscription is None:
            self._failed.pop(subscription_id, None)

    def subscription_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """See `Observer`."""
        self._observer.subscription_failed(subscription, topic, partition, cause)
        partitions, where = self._failed.get(subscription.id), (topic, partition)
        if partitions and where not in partitions:
            partitions.add(where)
            return
        # The first partition fails, or the subscription was already in FAILURE for another reason.
        self._failed[subscription.id] = {where, *(partitions or ())}
        for ended in ("subscription.recovered", "subscription.disabled"):
            self._limit.forget((ended, subscription.id))  # the end of this FAILURE is not a repetition
        self.tell("subscription.failed", subscription.id, self._facts(subscription, topic, partition, cause))

    def probe_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """See `Observer`."""
        self._observer.probe_failed(subscription, topic, partition, cause)
        if cause.probes is not None and cause.probes.next_at is None:
            self.tell_once("subscription.disabled", subscription.id, self._facts(subscription, topic, partition, cause))

    def subscription_recovered(
        self, subscription: Subscription, topic: str, partition: int, cause: Cause, by: RecoveredBy
    ) -> None:
        """See `Observer`."""
        self._observer.subscription_recovered(subscription, topic, partition, cause, by)
        facts = {"by": by, **self._facts(subscription, topic, partition, cause)}
        partitions = self._failed.get(subscription.id)
        if partitions is None:  # a former owner made the notification of the failure
            self.tell_once("subscription.recovered", subscription.id, facts)
            return
        partitions.discard((topic, partition))
        if not partitions:
            del self._failed[subscription.id]
            self.tell("subscription.recovered", subscription.id, facts)

    def dead_letter_failed(self, error: str) -> None:
        """Called if a write of a dead letter has failed. The write is tried again."""
        self._dead_letter_failed(error)
        if not self._is_unwritable:
            self._is_unwritable = True
            self.tell("dead-letters.unavailable", "dead-letters", {"error": shown_text(error)})

    def dead_lettered(self, reason: str, *, subscription: str | None, event: Event) -> None:
        """See `Observer`."""
        self._observer.dead_lettered(reason, subscription=subscription, event=event)
        if self._is_unwritable:
            self._is_unwritable = False
            self.tell("dead-letters.available", "dead-letters", {})

    def partition_lost(self, topic: str, partition: int) -> None:
        """See `Observer`."""
        self._observer.partition_lost(topic, partition)
        self.tell_once("worker.fenced", f"{topic}/{partition}", {"topic": topic, "partition": partition})

    def rebalanced(self) -> None:
        """See `Observer`. From now on, the new owners send the notifications about these partitions."""
        self._observer.rebalanced()
        self._failed.clear()

    def _facts(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> dict[str, Any]:
        return {
            "subscription": subscription.id,
            "topic": topic,
            "partition": partition,
            "host": shown_host(subscription.url),
            "metadata": dict(subscription.metadata),
            "cause": shown_cause(cause),
        }
