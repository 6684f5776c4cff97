"""An event in flight, and its tries: the attempts so far.

A part of the tries is kept while the event is not in memory.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.model import Event
from pipeline.core.subscription import Subscription

OVERTAKEN = -1
"""The epoch of an event in flight whose result must no longer count."""


class Tries(NamedTuple):
    """The attempts to deliver one event. Immutable: the old value is restored if an attempt was not made.

    Attributes:
        made: the number of attempts, including one under way.
        first_at: when the first attempt began, Unix seconds; None before the first attempt.
        last_at: when the last attempt began, Unix seconds.
        error: why the last attempt did not deliver the event; None before the first failure.
        renew_token: whether the next attempt has to fetch a fresh access token.
        token_renewed: whether a fresh access token was already requested for this event.
    """

    made: int = 0
    first_at: float | None = None
    last_at: float | None = None
    error: FailedAttempt | None = None
    renew_token: bool = False
    token_renewed: bool = False

    def begin(self, now: float) -> "Tries":
        """The tries after one more attempt, which begins now."""
        first_at = now if self.first_at is None else self.first_at
        return Tries(self.made + 1, first_at, now, self.error, renew_token=False, token_renewed=self.token_renewed)

    def anew(self) -> "Tries":
        """The tries if the count starts anew: an attempt under way counts as the first."""
        if self.last_at is None:
            return NO_TRIES
        return Tries(1, self.last_at, self.last_at, renew_token=self.renew_token, token_renewed=self.token_renewed)

    def summary(self) -> Attempts | None:
        """The attempts, for the cause of a FAILURE; None if there were no attempts."""
        if self.first_at is None:
            return None
        return Attempts(self.made, self.first_at, None if self.error is None else self.error.status)


NO_TRIES: Final = Tries()


@dataclass(slots=True)
class InFlight:
    """An event that has left its queue and is not settled: being sent, or waiting to be tried again.

    Attributes:
        epoch: the lane's epoch when the event left the queue; the result of an earlier epoch does not count.
        not_before: when the next attempt is due, Unix seconds; 0 for at once.
        claimed: with at-most-once, whether a row that moves the cursor past the event is durable or being written.
        wanted_by: the revision whose filter is known to match the event. The filter is not evaluated again.
    """

    event: Event
    offset: int
    epoch: int
    tries: Tries = NO_TRIES
    not_before: float = 0.0
    claimed: bool = False
    wanted_by: Subscription | None = None

    def shelved(self) -> "Shelved":
        """The part of the tries that remains when the event leaves memory."""
        tries = self.tries
        return Shelved(self.offset, Tries(tries.made, tries.first_at, error=tries.error), self.not_before)


class Shelved(NamedTuple):
    """The tries of an event that is not in memory: the part that a cursor row stores for the event at `next`."""

    offset: int
    tries: Tries
    not_before: float
