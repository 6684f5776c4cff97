"""How far a lane has come: what is settled, what its row says, and which claims were handed back. Pure."""

from pipeline.core.model import Cursor


class Progress:
    """The bookkeeping of one lane's cursor. `Lane` alone writes to it, and `LaneRows` tells it of rows.

    Attributes:
        floor: the cursor is never before it. Within a revision it steps back only when a claim is handed back.
        row: the last row that was handed to the store, None where there is none.
        revision: of the subscription: the last one whose command was carried out here.
        settled_to: the offset after the last settled one.
        handed_back: offsets whose claim was handed back, until a row at or before them is durable.
        last_success_at: its last delivery, Unix seconds; None if none is known.
        claimed_to: an event before it that is not sent yet was claimed together with an earlier one. 0 if none was.
    """

    __slots__ = ("claimed_to", "floor", "handed_back", "last_success_at", "revision", "row", "settled_to")

    def __init__(self, start: int) -> None:
        self.floor = start
        self.row: Cursor | None = None
        self.revision = -1
        self.settled_to = 0
        self.last_success_at: float | None = None
        self.handed_back: set[int] = set()
        self.claimed_to = 0

    def restore(self, row: Cursor) -> None:
        """Take up a row that the former owner left."""
        self.row, self.revision, self.floor = row, row.revision, row.next
        self.last_success_at = None if row.standing is None else row.standing.last_success_at

    def row_sent(self, row: Cursor) -> None:
        """The row is on its way: from now on the cursor is never before it."""
        self.row = row
        self.floor = row.next

    def row_deleted(self) -> None:
        """The committed offset says enough."""
        self.row = None

    def row_landed(self, row: Cursor) -> None:
        """The broker has confirmed the row: what it does not pass is not lost."""
        self.handed_back = {offset for offset in self.handed_back if offset < row.next}

    def abandon(self, position: int) -> None:
        """The subscription was deleted; a new one of its name would begin at *position*."""
        self.go_on_from(position)
        self.revision = -1

    def go_on_from(self, offset: int) -> None:
        """A command moves the cursor, whatever was claimed."""
        self.handed_back.clear()
        self.claimed_to = 0
        self.floor = offset

    def settle(self, offset: int) -> None:
        """The event at *offset* is done, or claimed by a durable row."""
        if offset >= self.settled_to:
            self.settled_to = offset + 1
        self.handed_back.discard(offset)

    def withdraw(self, offset: int) -> None:
        """The claim of *offset*, and of what was claimed with it, is not durable: the cursor may step back to it."""
        self.claimed_to = 0
        self.floor = offset

    def hand_back(self, offsets: list[int]) -> None:
        """The same for claims that are durable: until a row before them is, the next owner would pass them over."""
        self.withdraw(min(offsets))
        self.handed_back.update(offsets)
