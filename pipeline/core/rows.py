"""What the store of cursor rows hands over when a partition is opened. Pure."""

from dataclasses import dataclass

from pipeline.core.model import Cursor


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that can't be used.

    Its lane is put into FAILURE where the row says, or else at the committed offset, and waits for a person: going on
    by itself could pass over events that were not delivered, or repeat others.

    Attributes:
        reason: what is wrong with it, a short sentence.
        next: its cursor, if that much can be read.
    """

    reason: str
    next: int | None = None


Row = Cursor | UnreadableRow
