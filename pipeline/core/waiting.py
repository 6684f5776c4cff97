"""How many events of a lane wait, and since when, for display and for cursor rows."""

from dataclasses import dataclass

from pipeline.core.lane import Lane
from pipeline.core.lane_state import LaneState


@dataclass(frozen=True, slots=True)
class Waiting:
    """The number of unsettled events of a lane, including those in flight.

    Attributes:
        at_most: the number, or an upper bound.
        is_exact: whether it is the exact number: all events are in memory, or have been counted (in_log.py).
    """

    at_most: int
    is_exact: bool


def waiting_in(lane: Lane) -> Waiting:
    """How many events of a lane wait."""
    events = lane.events
    in_memory = len(events.in_flight) + len(events.queue)
    if lane.state is LaneState.LIVE:
        return Waiting(in_memory, is_exact=True)
    return Waiting(in_memory + events.in_log.at_most, events.in_log.is_exact)


def oldest_ms(lane: Lane) -> int | None:
    """The timestamp of the first event that waits in a lane, in milliseconds.

    If this event has not been read yet, the result is the timestamp of an earlier event, if one is known. None if no
    event waits, or if no timestamp is known: producers may leave timestamps out.
    """
    events = lane.events
    stamps: list[int | None] = [each.event.timestamp for each in events.in_flight.values() if not each.claimed]
    if events.queue.first is not None:
        stamps.append(events.queue.first.timestamp)
    if lane.state is not LaneState.LIVE and events.in_log.at_most:
        stamps.append(events.in_log.first_ms)
    return min((stamp for stamp in stamps if stamp is not None and stamp > 0), default=None)
