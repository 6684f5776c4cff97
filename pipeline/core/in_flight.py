"""An event on its way: how often it has been tried, and what is left of that when it is not in memory."""

from dataclasses import dataclass

from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.model import Event, Subscription

OVERTAKEN = -1
"""The epoch of a flight that counts no more."""


@dataclass(slots=True)
class Flight:
    """An event that has left its queue and is not settled: being sent, or waiting to be tried again.

    Attributes:
        epoch: the lane's epoch when it left; a flight of an earlier epoch settles nothing.
        attempt: tries so far.
        error: why the last of them did not deliver it; None while there was none.
        claimed: at-most-once: the cursor is being moved, or has moved, past it.
        token_renewed: a fresh access token has been fetched for it; *renew_token*: the next attempt has to fetch one.
        wanted_by: the revision whose filter wants the event; a filter may have to read a whole body.
    """

    event: Event
    offset: int
    epoch: int
    attempt: int = 0
    first_attempt_at: float | None = None
    last_attempt_at: float | None = None
    not_before: float = 0.0
    claimed: bool = False
    token_renewed: bool = False
    renew_token: bool = False
    wanted_by: Subscription | None = None
    error: FailedAttempt | None = None

    def progress(self) -> "Progress":
        """What is left of it when it leaves memory."""
        return Progress(self.offset, self.attempt, self.first_attempt_at, self.not_before, self.error)

    def attempts(self) -> Attempts | None:
        """Its attempts, for the cause of a FAILURE; None where none was made."""
        since = self.first_attempt_at
        if since is None:
            return None
        return Attempts(self.attempt, since, None if self.error is None else self.error.status)


@dataclass(frozen=True, slots=True)
class Progress:
    """The tries of an event that is not in memory: what a cursor row says of the event at `next`."""

    offset: int
    attempt: int
    first_attempt_at: float | None
    not_before: float
    error: FailedAttempt | None = None
