"""What the core reports about its work. observability/telemetry.py counts and logs it."""

from typing import Literal, Protocol

from pipeline.core.log_bounds import Break
from pipeline.core.model import Cause, Event
from pipeline.core.outcome import Outcome
from pipeline.core.policy import Decision
from pipeline.core.subscription import Subscription

Settlement = Literal["delivered", "dead-lettered", "dropped", "skipped", "filtered", "unmatched"]
"""How an event was settled. "unmatched": with `routing: match`, it matched no subscription."""

RecoveredBy = Literal["probe", "command"]
"""What ended a FAILURE."""

Throttle = Literal["rate", "slots"]
"""What an attempt waits for: the rate limit of its subscription, or a slot of the worker."""

DropRule = Literal[
    "lane-full",
    "not-retried",
    "given-up",
    "unknown-subscription",
    "undecodable",
    "skipped",
    "discarded",
    "retention",
]
"""The rule by which an event was given up without a dead letter."""


class Observer(Protocol):
    """Gets reports of attempts, settlements and losses. Called for every event, so it must neither wait nor raise."""

    def attempt_started(self) -> None:
        """A request is about to be sent."""

    def attempt_abandoned(self) -> None:
        """The attempt ended without an outcome: it was cancelled, or the lease ended before anything was sent."""

    def attempted(
        self, subscription: Subscription, event: Event, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """The attempt number *attempt* (from 1) ended as *outcome* after *seconds*."""

    def decided(self, event: Event, decision: Decision) -> None:
        """The decision after an attempt, called right after `attempted`. Not called after a delivery."""

    def withheld(self) -> None:
        """An attempt has to wait until the group confirms a heartbeat."""

    def throttled(self, reason: Throttle) -> None:
        """An attempt has to wait for the rate limit or for a slot."""

    def settled(self, how: Settlement, count: int = 1) -> None:
        """*count* events were settled."""

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
        """*count* events were given up by *rule*; *offset* is the last one's.

        With *since*, the events lie between *since* and *offset*. This range may also contain settled events and events
        of other subscriptions.
        """

    def log_broken(self, topic: str, partition: int, found: Break, *, subscription: str | None = None) -> None:
        """An offset of the group, or of a subscription's row, in a partition of *topic* has become invalid."""

    def dead_lettered(self, reason: str, *, subscription: str | None, event: Event) -> None:
        """The broker has confirmed a dead letter of *event*, written for the subscription with this id."""

    def subscription_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """A subscription went into FAILURE in a partition of *topic*."""

    def probe_failed(self, subscription: Subscription, topic: str, partition: int, cause: Cause) -> None:
        """A probe has not ended the FAILURE of a subscription; *cause* is the new cause."""

    def subscription_recovered(
        self, subscription: Subscription, topic: str, partition: int, cause: Cause, by: RecoveredBy
    ) -> None:
        """The FAILURE with this cause has ended, by a probe, a command or an edit."""

    def partition_lost(self, topic: str, partition: int) -> None:
        """Kafka has refused a row of a partition: another worker owns it now, or this worker has to open it again."""

    def committed(self, topic: str, partition: int, offset: int) -> None:
        """The group's *offset* in a partition of *topic* was committed."""

    def not_opened(self, topic: str, partition: int, error: str) -> None:
        """A partition of this worker can't be opened yet; the worker tries again."""

    def rebalanced(self) -> None:
        """The partitions of this worker were reassigned."""
