"""The memory that queued events take. Pure."""

from typing import Final

from pipeline.core.model import Event

EVENT_OVERHEAD_BYTES: Final = 512
"""The approximate memory of an event in addition to its body: record, key, headers."""


def size_of(event: Event) -> int:
    """The approximate memory of an event."""
    value = event.value
    return EVENT_OVERHEAD_BYTES if value is None else EVENT_OVERHEAD_BYTES + len(value)


class QueueMemory:
    """The memory of all queues of a worker. Each queue adds to it.

    Args:
        bound: how many bytes the queues may take.

    Attributes:
        used: how many bytes the queues take.
    """

    __slots__ = ("_bound", "used")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self.used = 0

    def __repr__(self) -> str:
        """For example `<QueueMemory 1,040 of 268,435,456 bytes>`."""
        return f"<QueueMemory {self.used:,} of {self._bound:,} bytes>"

    @property
    def is_full(self) -> bool:
        """Whether the queues have reached the bound."""
        return self.used >= self._bound

    @property
    def is_over_its_bound(self) -> bool:
        """Whether the queues have exceeded the bound."""
        return self.used > self._bound

    @property
    def is_half_free(self) -> bool:
        """Whether the queues take at most half of the bound."""
        return 2 * self.used <= self._bound
