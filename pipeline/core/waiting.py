"""What waits in a lane: how many events, and since when. For people, and for cursor rows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.core.lane import Lane


@dataclass(frozen=True, slots=True)
class Waiting:
    """The events of a lane that are not settled, those under way among them.

    Attributes:
        at_most: how many there are, or an upper bound.
        is_exact: it is no bound, but the number: all of them are in memory, or have been counted (unread.py).
    """

    at_most: int
    is_exact: bool


def waiting_in(lane: "Lane") -> Waiting:
    """How many events wait."""
    in_memory = len(lane.flights) + len(lane.queue)
    if lane.state == "live":
        return Waiting(in_memory, is_exact=True)
    return Waiting(in_memory + lane.unread.at_most(lane.read_from), lane.unread.is_exact(lane.read_from))


def oldest_ms(lane: "Lane") -> int | None:
    """The time stamp of the first event that waits, in milliseconds; None where none does, or where it is not known.

    While that event is still to be read: the time stamp of the one before it, if that is known. Producers write time
    stamps, and may leave them out.
    """
    known = [flight.event.timestamp for flight in lane.flights.values() if not flight.claimed]
    if lane.queue:
        known.append(lane.queue[0].timestamp)
    first = lane.unread.first_ms
    if lane.state != "live" and first is not None and lane.unread.at_most(lane.read_from):
        known.append(first)
    return min((stamp for stamp in known if stamp > 0), default=None)
