"""Detects source topics whose keys are not subscription ids, so that all of their events become dead letters.

The usual cause is a business topic, whose keys are for example orders or customers. Then no event is delivered, and no
error shows this. With `routing: match`, keys may be anything, and events that match no subscription are normal.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from pipeline.core.subscription import Routing
from pipeline.observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
ENOUGH: Final = 10
"""The number of successive events without a subscription that causes a warning. A few may be mistakes of a producer."""
REASONS: Final = ("unknown-subscription", "undecodable")


class UnmatchedEvents:
    """Counts the events without a subscription since the last event that had one.

    Args:
        telemetry: the counters of the worker.
        routing: the routing of the definition; with `match` there is never a warning.
    """

    def __init__(self, topics: Sequence[str], telemetry: Telemetry, routing: Routing) -> None:
        self._routing = routing
        self._topics = topics
        self._telemetry = telemetry
        self._seen = 0
        self._matched = 0
        self._in_a_row = 0

    @property
    def warning(self) -> str | None:
        """A warning for the operator; None while events find their subscriptions."""
        if self._in_a_row < ENOUGH:
            return None
        topics = f"topic{'s' if len(self._topics) > 1 else ''} {', '.join(self._topics)}"
        return (
            f"{topics}: none of the last {self._in_a_row} events was for a subscription; "
            "the key of an event must be the id of its subscription"
        )

    async def watch(self) -> None:
        """Look every ten seconds, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Compare the counters with their previous values. Log the warning if more events had no subscription."""
        if self._routing is Routing.MATCH:
            return
        telemetry = self._telemetry
        matched = sum(telemetry.attempts.values()) + telemetry.deliveries["filtered"] + telemetry.in_flight
        seen = sum(telemetry.dead_letters[reason] for reason in REASONS)
        seen += telemetry.drops["unknown-subscription"] + telemetry.drops["undecodable"]
        more = seen - self._seen
        # If some events since the last look had a subscription, the order is unknown, so the count restarts.
        self._in_a_row = self._in_a_row + more if matched == self._matched else 0
        self._seen, self._matched = seen, matched
        if more and self.warning is not None:
            logger.warning("%s", self.warning)
