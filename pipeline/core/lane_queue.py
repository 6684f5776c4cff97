"""The queue of a lane, and the bytes that it takes. Pure."""

from collections import deque
from collections.abc import Iterator

from pipeline.core.model import Event
from pipeline.core.ports import LaneLimits
from pipeline.core.queue_memory import QueueMemory, size_of


class LaneQueue:
    """The events of one lane that are in memory and that no runner has taken, in the order of offsets.

    Args:
        limits: of the lane.
        memory: what all queues of the worker take.

    Attributes:
        bytes: what the events take in memory (`queue_memory.size_of`).
    """

    __slots__ = ("_events", "_limits", "_memory", "bytes")

    def __init__(self, limits: LaneLimits, memory: QueueMemory) -> None:
        self._limits = limits
        self._memory = memory
        self._events: deque[Event] = deque()
        self.bytes = 0

    def __repr__(self) -> str:
        """As `<LaneQueue 2 events 1,040 bytes first=40>`."""
        first = None if self.first is None else self.first.offset
        return f"<LaneQueue {len(self)} events {self.bytes:,} bytes first={first}>"

    def __len__(self) -> int:
        """How many events it holds."""
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        """From the first one on."""
        return iter(self._events)

    @property
    def first(self) -> Event | None:
        """The first event; None if there is none."""
        return self._events[0] if self._events else None

    def append(self, event: Event) -> None:
        """Add an event, which comes after all others. The lane checks the bounds."""
        self._events.append(event)
        size = size_of(event)
        self.bytes += size
        self._memory.used += size

    def popleft(self) -> Event | None:
        """Remove the first event and return it; None if there is none."""
        if not self._events:
            return None
        event = self._events.popleft()
        size = size_of(event)
        self.bytes -= size
        self._memory.used -= size
        return event

    def clear(self) -> None:
        """Remove all events."""
        self._events.clear()
        self._memory.used -= self.bytes
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """It may take no other event."""
        return len(self._events) >= self._limits.events or self.bytes >= self._limits.bytes

    @property
    def is_rationed(self) -> bool:
        """One event at a time while the worker is full: so what hung receivers have queued can't stop the others."""
        return bool(self._events) and self._memory.is_full

    @property
    def is_over_its_bound(self) -> bool:
        """It has taken one event more than it may."""
        return len(self._events) > self._limits.events or self.bytes > self._limits.bytes

    @property
    def has_room(self) -> bool:
        """At least half of it is free, and it is not rationed."""
        is_half_free = 2 * len(self._events) <= self._limits.events and 2 * self.bytes <= self._limits.bytes
        return is_half_free and not self.is_rationed
