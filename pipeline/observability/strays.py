"""Notices a source topic whose keys are no ids of subscriptions: its events go to the dead letters, one and all.

A business topic, keyed by order or customer, say, is the usual reason: nothing fails, and nothing is ever delivered.
"""

import logging
from typing import Final

from pipeline.observability.telemetry import Telemetry

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
ENOUGH: Final = 10
"""So many events in a row of which none is for a subscription, are no single mistake."""
REASONS: Final = ("unknown-subscription", "undecodable")


class Strays:
    """Counts events without a subscription since the last one that had one.

    Args:
        topic: the source topic.
        telemetry: the counters of the worker.
    """

    def __init__(self, topic: str, telemetry: Telemetry) -> None:
        self._topic = topic
        self._telemetry = telemetry
        self._seen = 0
        self._matched = 0
        self._in_a_row = 0

    @property
    def warning(self) -> str | None:
        """What a person should know, a sentence; None while events find their subscriptions."""
        if self._in_a_row < ENOUGH:
            return None
        return (
            f"topic {self._topic}: none of the last {self._in_a_row} events was for a subscription; "
            "the key of an event must be the id of its subscription, and is not"
        )

    def look(self) -> None:
        """Compare the counters with those of the last look; log the warning if there is more to warn of."""
        telemetry = self._telemetry
        matched = sum(telemetry.attempts.values()) + telemetry.deliveries["filtered"] + telemetry.in_flight
        seen = sum(telemetry.dead_letters[reason] for reason in REASONS)
        seen += telemetry.drops["unknown-subscription"] + telemetry.drops["undecodable"]
        more = seen - self._seen
        # Of a mixture it is not known what came last: it is none.
        self._in_a_row = self._in_a_row + more if matched == self._matched else 0
        self._seen, self._matched = seen, matched
        if more and self.warning is not None:
            logger.warning("%s", self.warning)
