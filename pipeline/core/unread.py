"""How many events of a lane are in the log and not in memory, as far as that is known. Pure.

    log    40 . . 43 . 45 | 46 . 48 . . 51          40, 43... are the lane's, the others belong to other subscriptions
              ^ read_from  ^ counted_from    ^ dispatched

From `counted_from` on each of the lane's events has been counted when the stream brought it. What lies before was left
by another worker, or passed by before a replay, and how many of those offsets are the lane's is unknown. So the
number is exact as soon as the lane has been read up to `counted_from`; until then it has an upper bound.
"""

from collections.abc import Iterable

from pipeline.core.model import Event


class Unread:
    """The unread events of one lane. `Lane` alone changes it.

    Attributes:
        read_from: where the log is read next.
        counted_from: from here on each event was counted when it came.
        count: of the events from `counted_from` on.
        first_ms: the time stamp of the first unread event, or of one before it; None where neither is known.
    """

    __slots__ = ("_first", "count", "counted_from", "first_ms", "read_from")

    def __init__(self, start: int) -> None:
        self.read_from = start
        self.forget(start)

    def __repr__(self) -> str:
        """As `<Unread read_from=40 at most 5>`."""
        return f"<Unread read_from={self.read_from} {'' if self.is_exact else 'at most '}{self.at_most}>"

    def forget(self, counted_from: int, first_ms: int | None = None) -> None:
        """Start over: nothing is known of what lies before *counted_from*, and no event has come from there on."""
        self.counted_from = counted_from
        self.count = 0
        self.first_ms = first_ms
        self._first: int | None = None

    @property
    def at_most(self) -> int:
        """The number of events, or an upper bound of it."""
        return self.count + max(0, self.counted_from - self.read_from)

    @property
    def is_exact(self) -> bool:
        """Whether `at_most` is the exact number."""
        return self.counted_from <= self.read_from

    def came(self, event: Event) -> None:
        """The stream has brought an event, which the lane leaves to the log."""
        if event.offset >= self.read_from:
            if not self.at_most:
                self._begin_with(event)
            self.count += 1

    def left(self, events: Iterable[Event]) -> None:
        """These, the next ones, leave memory and will be read from `read_from` on."""
        left = [event for event in events if event.offset >= self.read_from]
        if left:
            self._begin_with(left[0])
        self.count += sum(event.offset >= self.counted_from for event in left)

    def returned(self, event: Event, *, passes_others: bool) -> None:
        """An event leaves memory, and reading goes on from it if that is before `read_from`.

        Args:
            event: it.
            passes_others: events in between are settled or under way; they may be read again, and were not counted.
        """
        self._begin_with(event)
        if passes_others and event.offset < self.read_from:
            self.counted_from = max(self.counted_from, self.read_from)
        elif event.offset >= self.counted_from:
            self.count += 1
        self.read_from = min(self.read_from, event.offset)

    def was_read(self, event: Event) -> None:
        """The event is in memory now."""
        if event.offset >= self.counted_from:
            self.count -= 1
        self.first_ms, self._first = event.timestamp, None

    def skipped(self, offset: int, dispatched: int) -> None:
        """The lane passes over *offset*. Whether an event of it is there is only known of the first one."""
        if self._first != offset:
            self.forget(dispatched)
        else:
            self.count -= offset >= self.counted_from
            self._first = None

    def _begin_with(self, event: Event) -> None:
        self.first_ms, self._first = event.timestamp, event.offset
