"""What waits in a lane: how many events, and since when. For people, and for cursor rows."""

from dataclasses import dataclass

from pipeline.core.lane import Lane
from pipeline.core.lane_state import LaneState


@dataclass(frozen=True, slots=True)
class Waiting:
    """The events of a lane that are not settled, those under way among them.

    Attributes:
        at_most: how many there are, or an upper bound.
        is_exact: it is no bound, but the number: all of them are in memory, or have been counted (unread.py).
    """

    at_most: int
    is_exact: bool


def waiting_in(lane: Lane) -> Waiting:
    """How many events of a lane wait."""
    events = lane.events
    in_memory = len(events.in_flight) + len(events.queue)
    if lane.state is LaneState.LIVE:
        return Waiting(in_memory, is_exact=True)
    return Waiting(in_memory + events.unread.at_most, events.unread.is_exact)


def oldest_ms(lane: Lane) -> int | None:
    """The time stamp of the first event that waits in a lane, in milliseconds.

    While that event is still to be read: the time stamp of the one before it, if that is known. None where none waits,
    or where it is not known: producers may leave time stamps out.
    """
    events = lane.events
    stamps: list[int | None] = [each.event.timestamp for each in events.in_flight.values() if not each.claimed]
    if events.queue.first is not None:
        stamps.append(events.queue.first.timestamp)
    if lane.state is not LaneState.LIVE and events.unread.at_most:
        stamps.append(events.unread.first_ms)
    return min((stamp for stamp in stamps if stamp is not None and stamp > 0), default=None)
