"""An event on its way: how often it has been tried, and what is left of that when it is not in memory."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.model import Event
from pipeline.core.subscription import Subscription

OVERTAKEN = -1
"""The epoch of an event in flight whose result no longer counts."""


class Tries(NamedTuple):
    """The attempts to deliver one event. A value: an attempt that was not made leaves the one before it in place.

    Attributes:
        made: how many, the one under way included.
        first_at: when the first one began, Unix seconds; None before it.
        last_at: when the last one began.
        error: why the last one did not deliver the event; None while there was none.
        renew_token: the next attempt has to fetch a fresh access token.
        token_renewed: an attempt has been told to fetch one.
    """

    made: int = 0
    first_at: float | None = None
    last_at: float | None = None
    error: FailedAttempt | None = None
    renew_token: bool = False
    token_renewed: bool = False

    def begin(self, now: float) -> "Tries":
        """One more, which begins now."""
        first_at = now if self.first_at is None else self.first_at
        return Tries(self.made + 1, first_at, now, self.error, renew_token=False, token_renewed=self.token_renewed)

    def summary(self) -> Attempts | None:
        """What the cause of a FAILURE says of them; None where none was made."""
        if self.first_at is None:
            return None
        return Attempts(self.made, self.first_at, None if self.error is None else self.error.status)


NO_TRIES: Final = Tries()


@dataclass(slots=True)
class InFlight:
    """An event that has left its queue and is not settled: being sent, or waiting to be tried again.

    Attributes:
        epoch: the lane's epoch when it left; an event of an earlier epoch settles nothing.
        not_before: when the next attempt is due, Unix seconds; 0 for at once.
        claimed: at-most-once: the cursor is being moved, or has moved, past it.
        wanted_by: the revision whose filter wants the event; a filter may have to read a whole body.
    """

    event: Event
    offset: int
    epoch: int
    tries: Tries = NO_TRIES
    not_before: float = 0.0
    claimed: bool = False
    wanted_by: Subscription | None = None

    def shelved(self) -> "Shelved":
        """What is left of it when it leaves memory."""
        tries = self.tries
        return Shelved(self.offset, Tries(tries.made, tries.first_at, error=tries.error), self.not_before)


class Shelved(NamedTuple):
    """The tries of an event that is not in memory: what a cursor row says of the event at `next`."""

    offset: int
    tries: Tries
    not_before: float
