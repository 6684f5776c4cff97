"""Remembers the subscriptions whose last events were all dead-lettered: such a subscription is live, but not well."""

from itertools import islice
from typing import Final

from pipeline.core.attempts import DeadLetterRun
from pipeline.core.bounded import Bounded

MOST_RUNS: Final = 10_000


class DeadLetterRuns:
    """The dead letters of each subscription since its last delivery by this worker."""

    __slots__ = ("_messages", "_runs")

    def __init__(self) -> None:
        self._messages: Bounded[str, str] = Bounded(MOST_RUNS)
        self._runs: Bounded[str, DeadLetterRun] = Bounded(MOST_RUNS)

    def failed(self, subscription: str, message: str) -> None:
        """An attempt failed, as *message* says."""
        self._messages[subscription] = message

    def delivered(self, subscription: str) -> None:
        """An event was delivered, which ends the run."""
        if subscription in self._messages:
            del self._messages[subscription]
            self._runs.pop(subscription, None)

    def dead_lettered(self, subscription: str | None, now: float) -> None:
        """An event was dead-lettered. Events without an attempt say nothing about a receiver and are not counted."""
        if subscription is None or subscription not in self._messages:
            return
        run = self._runs.pop(subscription, None)  # the newest run becomes the last one
        count, since = (1, now) if run is None else (run.count + 1, run.since)
        self._runs[subscription] = DeadLetterRun(count, since, now, self._messages[subscription])

    def newest(self, most: int) -> dict[str, DeadLetterRun]:
        """At most this many runs, those with the newest dead letters."""
        return {name: self._runs[name] for name in islice(reversed(self._runs), most)}
