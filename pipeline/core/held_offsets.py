"""The offsets that the partition's window holds for one lane."""

from pipeline.core.ports import Home


class HeldOffsets:
    """The offsets of one lane that the committed offset must not pass. They are added in ascending order.

    A lane that leaves the stream writes a row. The committed offset may pass the lane's events only when that row is
    durable. Until then, the window also holds new events of the lane.

    Attributes:
        awaits_row: whether a row has to be durable before the window releases the offsets.
    """

    __slots__ = ("_home", "_offsets", "_window", "awaits_row")

    def __init__(self, home: Home) -> None:
        self._window = home.window
        self._home = home
        self._offsets: dict[int, None] = {}
        self.awaits_row = False

    def __repr__(self) -> str:
        """For example `<HeldOffsets [40, 41] until a row is durable>`."""
        return f"<HeldOffsets {[*self._offsets]}{' until a row is durable' if self.awaits_row else ''}>"

    def __len__(self) -> int:
        """The number of held offsets."""
        return len(self._offsets)

    def __contains__(self, offset: int) -> bool:
        """Whether the window holds *offset* for the lane."""
        return offset in self._offsets

    @property
    def first(self) -> int | None:
        """The lowest held offset."""
        return next(iter(self._offsets), None)

    def add(self, offset: int) -> None:
        """Add *offset* to the window."""
        self._window.add(offset)
        self._offsets[offset] = None

    def settle(self, offset: int) -> None:
        """Settle the event at *offset*, and remove it from the window if it is there."""
        if offset in self._offsets:
            del self._offsets[offset]
            self._home.settle(offset)
        else:
            # The event was read from the log. Later events of the lane may be in the note. So this event must be in the
            # note too: otherwise the next owner would send it again, after the later events.
            self._window.mark_settled(offset)

    def let_go(self, offset: int) -> None:
        """Let the window release *offset*. Does nothing if the window does not hold it."""
        if offset in self._offsets:
            del self._offsets[offset]
            self._home.let_go(offset)

    def await_row(self) -> None:
        """Record that the lane leaves the stream. Call `release` when its row is durable."""
        self.awaits_row = True

    def release(self) -> None:
        """Let the window release all offsets."""
        for offset in self._offsets:
            self._home.let_go(offset)
        self._offsets.clear()
        self.awaits_row = False
