"""What the partition's window holds for one lane."""

from pipeline.core.ports import Home


class HeldOffsets:
    """The offsets of one lane that keep the committed offset from passing them. Offsets are added in growing order.

    A lane that leaves the stream owes the window a row: only when the row is durable may the committed offset pass what
    the lane has left to the log. Until then the window also holds what the stream brings for the lane meanwhile.

    Args:
        home: the lane's partition.

    Attributes:
        awaits_row: a row has to be durable before the window lets go.
    """

    __slots__ = ("_home", "_offsets", "_window", "awaits_row")

    def __init__(self, home: Home) -> None:
        self._window = home.window
        self._home = home
        self._offsets: dict[int, None] = {}
        self.awaits_row = False

    def __repr__(self) -> str:
        """As `<HeldOffsets [40, 41] until a row is durable>`."""
        return f"<HeldOffsets {[*self._offsets]}{' until a row is durable' if self.awaits_row else ''}>"

    def __len__(self) -> int:
        """How many there are."""
        return len(self._offsets)

    def __contains__(self, offset: int) -> bool:
        """Whether the window holds *offset* for the lane."""
        return offset in self._offsets

    @property
    def first(self) -> int | None:
        """The lowest of them."""
        return next(iter(self._offsets), None)

    def add(self, offset: int) -> None:
        """The window holds *offset* from now on."""
        self._window.add(offset)
        self._offsets[offset] = None

    def settle(self, offset: int) -> None:
        """The event at *offset* is done: the window need not hold it any more, if it does."""
        if offset in self._offsets:
            del self._offsets[offset]
            self._home.settle(offset)
        else:
            # It was read from the log. As later events of the lane are noted, it has to be noted as well, or the next
            # owner would send it again after them.
            self._window.note(offset)

    def let_go(self, offset: int) -> None:
        """The window need not hold *offset* any more, if it does."""
        if offset in self._offsets:
            del self._offsets[offset]
            self._home.let_go(offset)

    def await_row(self) -> None:
        """The lane leaves the stream: `release` when its row is durable."""
        self.awaits_row = True

    def release(self) -> None:
        """The window lets go of all of them."""
        for offset in self._offsets:
            self._home.let_go(offset)
        self._offsets.clear()
        self.awaits_row = False
