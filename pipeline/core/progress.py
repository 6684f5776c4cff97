"""The progress of a lane: its settled events, its last row, and the claims that were handed back. Pure."""

from pipeline.core.model import Cursor


class Progress:
    """What determines the cursor of one lane. The parts of the lane change it, and `LaneRows` records rows in it.

    Attributes:
        floor: the cursor is never before this offset. Only commands, and claims that are handed back, move it back.
        row: the last row that was passed to the store; None if there is none.
        revision: the last revision of the subscription whose command was carried out here.
        settled_to: the offset after the last settled one.
        handed_back: offsets whose claim was handed back, until a row at or before them is durable.
        last_success_at: the time of the last delivery, Unix seconds; None if none is known.
        claimed_to: unsent events before this offset were claimed together with an earlier event; 0 if there are no such
            events.
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
        """Restore the state in a row of the former owner."""
        self.row, self.revision, self.floor = row, row.revision, row.next
        self.last_success_at = None if row.standing is None else row.standing.last_success_at

    def row_sent(self, row: Cursor) -> None:
        """Record that the row was passed to the store. From now on, the cursor must not be before the row's cursor."""
        self.row = row
        self.floor = row.next

    def row_deleted(self) -> None:
        """Record that the row was deleted."""
        self.row = None

    def row_landed(self, row: Cursor) -> None:
        """Record that the row is durable. This completes the hand-back of claims at and after the row's cursor."""
        self.handed_back = {offset for offset in self.handed_back if offset < row.next}

    def abandon(self, position: int) -> None:
        """Start over at *position*, because the subscription was deleted."""
        self.go_on_from(position)
        self.revision = -1

    def go_on_from(self, offset: int) -> None:
        """Move the cursor by a command, and forget all claims."""
        self.handed_back.clear()
        self.claimed_to = 0
        self.floor = offset

    def settle(self, offset: int) -> None:
        """Record that the event at *offset* is settled, or claimed by a durable row."""
        if offset >= self.settled_to:
            self.settled_to = offset + 1
        self.handed_back.discard(offset)

    def withdraw(self, offset: int) -> None:
        """Move the cursor back to *offset*: the claims of this event and of others in the same row are not durable."""
        self.claimed_to = 0
        self.floor = offset

    def hand_back(self, offsets: list[int]) -> None:
        """Move the cursor back to *offsets*. Until a new row is durable, the next owner may skip these events."""
        self.withdraw(min(offsets))
        self.handed_back.update(offsets)
