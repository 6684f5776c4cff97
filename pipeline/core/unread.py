"""How many events of a lane are in the log and not in memory, as far as that is known. Pure.

    log    40 . . 43 . 45 | 46 . 48 . . 51          40, 43... are the lane's, the others belong to other subscriptions
              ^ read_from  ^ counted_from    ^ dispatched

From `counted_from` on each of the lane's events has been counted when the stream brought it. What lies before was left
by another worker, or passed by before a replay, and nobody knows how many of those offsets are the lane's. So the
number is exact as soon as the lane has been read up to `counted_from`; until then it has an upper bound.
"""

from collections.abc import Iterable

from pipeline.core.model import Event


class Unread:
    """The unread events of one lane. `Lane` alone writes to it, and tells it where it will read on.

    Attributes:
        count: of the events from `counted_from` on.
        first_ms: the time stamp of the first unread event, or of one before it; None where neither is known.
    """

    __slots__ = ("_first", "count", "counted_from", "first_ms")

    def __init__(self, start: int) -> None:
        self.forget(start)

    def forget(self, counted_from: int, first_ms: int | None = None) -> None:
        """Of what lies before *counted_from* nothing is known; of what comes from there on, nothing has come."""
        self.counted_from = counted_from
        self.count = 0
        self.first_ms = first_ms
        self._first: int | None = None

    def at_most(self, read_from: int) -> int:
        """There are no more than so many."""
        return self.count + max(0, self.counted_from - read_from)

    def is_exact(self, read_from: int) -> bool:
        """There are no fewer either."""
        return self.counted_from <= read_from

    def came(self, event: Event, read_from: int) -> None:
        """The stream has brought an event, which the lane leaves to the log."""
        if event.offset >= read_from:
            if not self.at_most(read_from):
                self._begin_with(event)
            self.count += 1

    def left(self, events: Iterable[Event], read_from: int) -> None:
        """These, the next ones, leave memory and will be read from *read_from* on."""
        left = [event for event in events if event.offset >= read_from]
        if left:
            self._begin_with(left[0])
        self.count += sum(event.offset >= self.counted_from for event in left)

    def stepped_back(self, event: Event, read_from: int, *, passes_others: bool) -> None:
        """An event leaves memory that comes before what was to be read, from *read_from* on.

        Args:
            event: it.
            read_from: where the lane was to be read.
            passes_others: events in between are settled or under way; they may be read again, and nobody counted them.
        """
        self._begin_with(event)
        if passes_others and event.offset < read_from:
            self.counted_from = max(self.counted_from, read_from)
        elif event.offset >= self.counted_from:
            self.count += 1

    def was_read(self, event: Event) -> None:
        """The event is in memory now."""
        if event.offset >= self.counted_from:
            self.count -= 1
        self.first_ms, self._first = event.timestamp, None

    def skipped(self, offset: int, dispatched: int) -> None:
        """The lane passes over *offset*, where an event of it may be: known for its first one alone."""
        if self._first != offset:
            self.forget(dispatched)
        else:
            self.count -= offset >= self.counted_from
            self._first = None

    def _begin_with(self, event: Event) -> None:
        self.first_ms, self._first = event.timestamp, event.offset
