"""An event on its way: how often it has been tried, and what is left of that when it is not in memory."""

from dataclasses import dataclass

from pipeline.model import Event, Subscription

OVERTAKEN = -1
"""The epoch of a flight that counts no more."""


@dataclass(slots=True)
class Flight:
    """An event that has left its queue and is not settled: being sent, or waiting to be tried again.

    Attributes:
        epoch: the lane's epoch when it left; a flight of an earlier epoch settles nothing.
        attempt: tries so far.
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


@dataclass(frozen=True, slots=True)
class Progress:
    """The tries of an event that is not in memory: what a cursor row says of the event at `next`."""

    offset: int
    attempt: int
    first_attempt_at: float | None
    not_before: float
