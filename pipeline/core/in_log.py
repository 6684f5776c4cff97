"""Counts the events of a lane that are in the log but not in memory, as far as the number is known. Pure.

    log    40 . . 43 . 45 | 46 . 48 . . 51          40, 43... are the lane's, the others belong to other subscriptions
              ^ read_from  ^ counted_from    ^ dispatched_to

From `counted_from` on, each of the lane's events was counted when the stream brought it. It is unknown how many offsets
before `counted_from` belong to the lane: another worker left these events, or a replay moved the cursor back to them.
Until the lane has read the log up to `counted_from`, the number is an upper bound. After that it is exact.
"""

from collections.abc import Iterable

from pipeline.core.model import Event


class InLog:
    """The events of one lane that are in the log but not in memory.

    Attributes:
        read_from: the offset at which the lane continues to read the log.
        counted_from: from this offset on, each event was counted when the stream brought it.
        count: the number of events from `counted_from` on.
        first_ms: the timestamp of the first event from `counted_from` on, or of an earlier event; None if neither is
            known.
    """

    __slots__ = ("_first", "count", "counted_from", "first_ms", "read_from")

    def __init__(self, start: int) -> None:
        self.read_from = start
        self.forget(start)

    def __repr__(self) -> str:
        """For example `<InLog read_from=40 at most 5>`."""
        return f"<InLog read_from={self.read_from} {'' if self.is_exact else 'at most '}{self.at_most}>"

    def forget(self, counted_from: int, first_ms: int | None = None) -> None:
        """Start to count at *counted_from*. The stream has not reached this offset yet."""
        self.counted_from = counted_from
        self.count = 0
        self.first_ms = first_ms
        self._first: int | None = None

    @property
    def at_most(self) -> int:
        """The number of events, or an upper bound."""
        return self.count + max(0, self.counted_from - self.read_from)

    @property
    def is_exact(self) -> bool:
        """Whether `at_most` is the exact number."""
        return self.counted_from <= self.read_from

    def came(self, event: Event) -> None:
        """Count an event of the stream that the lane leaves to the log."""
        if event.offset >= self.read_from:
            if not self.at_most:
                self._begin_with(event)
            self.count += 1

    def left(self, events: Iterable[Event]) -> None:
        """Count *events*, which leave memory. From `read_from` on, they are the next events to be read."""
        left = [event for event in events if event.offset >= self.read_from]
        if left:
            self._begin_with(left[0])
        self.count += sum(event.offset >= self.counted_from for event in left)

    def returned(self, event: Event, *, passes_others: bool) -> None:
        """Count an event that leaves memory. If the event is before `read_from`, reading continues at this event.

        Args:
            event: the event.
            passes_others: whether later events of the lane are settled or in flight.
        """
        goes_back = event.offset < self.read_from
        if goes_back or not self.at_most:
            self._begin_with(event)
        if goes_back and passes_others:
            # It is unknown how many events from this one to `read_from` are still to be delivered.
            self.counted_from = max(self.counted_from, self.read_from)
        elif event.offset >= self.counted_from:
            self.count += 1
        self.read_from = min(self.read_from, event.offset)

    def was_read(self, event: Event) -> None:
        """Record that the event is in memory now."""
        if event.offset >= self.counted_from:
            self.count -= 1
        self.first_ms, self._first = event.timestamp, None

    def skipped(self, offset: int, dispatched_to: int) -> None:
        """Record that the lane skips *offset*.

        It is known to be an event of the lane only if it is the first unread event.
        """
        if self._first != offset:
            self.forget(dispatched_to)
        else:
            self.count -= offset >= self.counted_from
            self._first = None

    def _begin_with(self, event: Event) -> None:
        self.first_ms, self._first = event.timestamp, event.offset
