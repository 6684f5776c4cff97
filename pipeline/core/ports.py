"""What a lane is given: how much it may hold, and what its partition does for it."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.clock import Clock
from pipeline.core.model import Event
from pipeline.core.observer import Observer

EVENT_OVERHEAD_BYTES = 512
"""What an event costs in memory beyond its body, roughly: record, key, headers."""


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """How much a lane may hold.

    Attributes:
        events: in the queue.
        bytes: in the queue, `EVENT_OVERHEAD_BYTES` per event included.
        hold_seconds: how long an event may keep the partition's committed offset back; also the wait from which on a
            lane that is behind gives its events up and reads them again when they are due.
    """

    events: int
    bytes: int
    hold_seconds: float


class LaneServices(Protocol):
    """What all lanes of a worker share."""

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def telemetry(self) -> Observer:
        """What is told of settlements and losses."""
        ...

    @property
    def limits(self) -> LaneLimits:
        """The bounds of each lane."""
        ...

    @property
    def is_crowded(self) -> bool:
        """The queues of the worker hold as much as they may."""
        ...

    def account(self, size: int) -> None:
        """So many bytes more (or less) are queued."""
        ...


class RowWriter(Protocol):
    """Writes the cursor rows of lanes (lane_rows.py)."""

    def write(self, key: bytes) -> "asyncio.Future[None]":
        """The lane's cursor row joins the next group commit; done when the broker has confirmed it."""
        ...

    def note(self, key: bytes) -> None:
        """The lane's row is out of date: write it with the next checkpoint."""
        ...


class Home(Protocol):
    """What a lane needs of its partition (core/partition.py)."""

    @property
    def dispatched(self) -> int:
        """The next offset that the stream will hand out."""
        ...

    @property
    def is_draining(self) -> bool:
        """The partition is being given back: begin nothing new."""
        ...

    def hand_out(self, offset: int) -> None:
        """The window holds the offset from now on."""
        ...

    def let_go(self, offset: int) -> None:
        """The window need not hold the offset any more."""
        ...

    def wants_events(self, key: bytes) -> None:
        """The lane is behind and has room: read the log for it."""
        ...

    def start_runner(self, key: bytes) -> None:
        """One more runner carries events of the lane, as a task of the partition."""
        ...


def size_of(event: Event) -> int:
    """What an event costs in memory, roughly."""
    value = event.value
    return EVENT_OVERHEAD_BYTES if value is None else EVENT_OVERHEAD_BYTES + len(value)
