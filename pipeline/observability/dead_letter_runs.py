"""Remembers the subscriptions whose last events were all dead-lettered: such a subscription is live, but not well."""

from collections.abc import Collection
from itertools import islice
from typing import Final

from pipeline.core.attempts import DeadLetterRun
from pipeline.core.bounded import Bounded
from pipeline.core.model import Event

MOST_RUNS: Final = 10_000
_WITHOUT_RECEIVER: Final = ("unknown-subscription", "undecodable")


class DeadLetterRuns:
    """Each subscription's dead letters since this worker last delivered to it, in partitions that the worker owns."""

    __slots__ = ("_failed", "_runs")

    def __init__(self) -> None:
        self._failed: Bounded[str, tuple[str, int | None]] = Bounded(MOST_RUNS)
        self._runs: Bounded[str, tuple[DeadLetterRun, tuple[str, int]]] = Bounded(MOST_RUNS)

    def failed(self, subscription: str, message: str, revision: int | None = None) -> None:
        """An attempt for this revision of a subscription failed, as *message* says."""
        self._failed[subscription] = message, revision

    def end(self, subscription: str) -> None:
        """End the run, because an event was delivered or the subscription was deleted."""
        self._failed.pop(subscription, None)
        self._runs.pop(subscription, None)

    def dead_lettered(self, reason: str, subscription: str | None, event: Event, now: float) -> None:
        """*event* was dead-lettered. Events without an attempt say nothing about a receiver and are not counted."""
        if subscription is None or subscription not in self._failed or reason in _WITHOUT_RECEIVER:
            return
        run, _ = self._runs.pop(subscription, (None, None))  # the newest run becomes the last one
        count, since = (1, now) if run is None else (run.count + 1, run.since)
        run = DeadLetterRun(count, since, now, *self._failed[subscription])
        self._runs[subscription] = (run, (event.topic, event.partition))

    def newest(self, most: int, owned: Collection[tuple[str, int]]) -> dict[str, DeadLetterRun]:
        """At most this many runs, those with the newest dead letters.

        A run ends if the partition of its last dead letter is not *owned*: another worker may have delivered since.
        """
        for name in [name for name, (_, place) in self._runs.items() if place not in owned]:
            self.end(name)
        return {name: self._runs[name][0] for name in islice(reversed(self._runs), most)}
