"""The states of a lane, and the transitions between them.

    live ──queue over its bound, or an event held too long──▶ behind     the window releases when the row is durable
    live, behind ──failure, command, edit──▶ halted                      the same; the row has the cause
    halted ──resume, skip, replay, edit──▶ behind                        FAILURE ends; skip and replay move the cursor
    halted ──failure, command, edit──▶ halted                            the status changes
    failed ──a probe is due──▶ probing                                   the first event is read and sent once
    probing ──accepted, resume, skip, replay, edit──▶ behind             FAILURE ends (probing.py)
    probing ──no answer, command, edit──▶ halted                         failed: waits for the next probe
    behind ──skip, replay, an event returns to the log──▶ behind         the cursor moves; the event is read again
    behind ──read up to `dispatched_to`──▶ live                          decided in one step, without an await
    any ──the subscription is deleted──▶ live                            with no events left

halted: failed, stopped (by the consumer), paused (by the publisher), closed.
"""

from enum import Enum
from typing import Final, Literal

from pipeline.core.model import Status

Feed = Literal["live", "behind", "halted"]
"""Where a lane's events come from: the stream, the log (read again), or nowhere."""


class LaneState(Enum):
    """A state of a lane.

    Attributes:
        feed: where its events come from.
        status: the status in cursor rows and on pages.
        is_halted: whether nothing is delivered until a command, an edit or a probe.
    """

    LIVE = "live", Status.STARTED
    BEHIND = "behind", Status.STARTED
    PROBING = "behind", Status.FAILURE
    FAILED = "halted", Status.FAILURE
    STOPPED = "halted", Status.STOPPED
    PAUSED = "halted", Status.PAUSED
    CLOSED = "halted", Status.CLOSED

    def __init__(self, feed: Feed, status: Status) -> None:
        self.feed = feed
        self.status = status
        self.is_halted = feed == "halted"


HALTED: Final = {state.status: state for state in LaneState if state.is_halted}
"""The halted state with each status."""

TRANSITIONS: Final = {
    LaneState.LIVE: {LaneState.BEHIND, *HALTED.values()},
    LaneState.BEHIND: {LaneState.LIVE, LaneState.BEHIND, *HALTED.values()},
    LaneState.PROBING: {LaneState.BEHIND, *HALTED.values()},
    **{state: {LaneState.BEHIND, *HALTED.values()} for state in HALTED.values()},
}
TRANSITIONS[LaneState.FAILED].add(LaneState.PROBING)
"""The states that may follow each state. The lane of a deleted subscription starts over as live from any state."""
