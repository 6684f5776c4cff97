"""The queue of a lane, bounded in events and bytes. Pure."""

from collections import deque
from collections.abc import Iterator

from pipeline.core.model import Event
from pipeline.core.ports import LaneLimits
from pipeline.core.queue_memory import QueueMemory, size_of


class LaneQueue:
    """The events of one lane that are in memory and that no runner has taken, in the order of offsets.

    Args:
        memory: counts the bytes in all queues of the worker.

    Attributes:
        bytes: the size of the events in memory (`queue_memory.size_of`).
    """

    __slots__ = ("_events", "_limits", "_memory", "bytes")

    def __init__(self, limits: LaneLimits, memory: QueueMemory) -> None:
        self._limits = limits
        self._memory = memory
        self._events: deque[Event] = deque()
        self.bytes = 0

    def __repr__(self) -> str:
        """For example `<LaneQueue 2 events 1,040 bytes first=40>`."""
        first = None if self.first is None else self.first.offset
        return f"<LaneQueue {len(self)} events {self.bytes:,} bytes first={first}>"

    def __len__(self) -> int:
        """The number of events."""
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        """The events in the order of offsets."""
        return iter(self._events)

    @property
    def first(self) -> Event | None:
        """The first event; None if there is none."""
        return self._events[0] if self._events else None

    def append(self, event: Event) -> None:
        """Add an event after all others. The lane checks the bounds."""
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
        """Whether the queue has reached one of its bounds."""
        return len(self._events) >= self._limits.events or self.bytes >= self._limits.bytes

    @property
    def is_rationed(self) -> bool:
        """Whether the queue may hold only one event, because the worker's memory is full.

        Events for receivers that hang may fill the memory. With one event each, all lanes can continue.
        """
        return bool(self._events) and self._memory.is_full

    @property
    def is_over_its_bound(self) -> bool:
        """Whether the queue has exceeded one of its bounds."""
        return len(self._events) > self._limits.events or self.bytes > self._limits.bytes

    @property
    def has_room(self) -> bool:
        """Whether at least half of the queue is free, and it is not rationed."""
        is_half_free = 2 * len(self._events) <= self._limits.events and 2 * self.bytes <= self._limits.bytes
        return is_half_free and not self.is_rationed
