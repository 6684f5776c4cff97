"""What waits in a lane: how many events, and since when. For people, and for cursor rows."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waiting:
    """The events of a lane that are not settled, those under way among them.

    Attributes:
        at_most: how many there are, or an upper bound.
        is_exact: it is no bound, but the number: all of them are in memory, or have been counted (unread.py).
    """

    at_most: int
    is_exact: bool


def oldest_ms(stamps: Iterable[int | None]) -> int | None:
    """The first of the time stamps, in milliseconds; producers may leave them out, and then it may be None."""
    return min((stamp for stamp in stamps if stamp is not None and stamp > 0), default=None)
