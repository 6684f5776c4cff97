"""The states of a lane, and what leads from one to another.

    live ──queue over its bound, or an event held too long──▶ behind     the cursor row first, then the window lets go
    live, behind ──failure, or what people ask for──▶ halted             the same, with the cause
    halted ──resume, skip, replay, an edit──▶ behind                     FAILURE ends; skip and replay move the cursor
    failed ──it is time──▶ probing                                       it reads its first event and sends it once
    probing ──the receiver answers, or what ends halted──▶ behind        FAILURE ends (probing.py)
    probing ──no answer, what people ask for──▶ halted                   failed: until the next probe
    behind ──skip, replay, an event returns to the log──▶ behind         the cursor moves; the event is read again
    behind ──read up to where the stream is──▶ live                      decided in one step, without an await
    any ──the subscription is deleted──▶ live                            nothing is owed any more

halted: failed, stopped (by the consumer), paused (by the publisher), closed.
"""

from enum import Enum
from typing import Final, Literal

from pipeline.core.model import Status

Feed = Literal["live", "behind", "halted"]
"""Where a lane's events come from: from the stream, from the log read again, from nowhere."""


class LaneState(Enum):
    """One of seven.

    Attributes:
        feed: where its events come from.
        status: what cursor rows and people are told.
        is_halted: nothing is delivered until a person asks for it, or a probe is due.
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
"""The state in which nothing is delivered for this reason."""

TRANSITIONS: Final = {
    LaneState.LIVE: {LaneState.BEHIND, *HALTED.values()},
    LaneState.BEHIND: {LaneState.LIVE, LaneState.BEHIND, *HALTED.values()},
    LaneState.PROBING: {LaneState.BEHIND, *HALTED.values()},
    **{state: {LaneState.BEHIND, *HALTED.values()} for state in HALTED.values()},
}
TRANSITIONS[LaneState.FAILED].add(LaneState.PROBING)
"""What may follow each state. The lane of a deleted subscription starts over as live, whatever it was."""
