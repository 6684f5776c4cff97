"""The rows that the store of cursor rows returns when a partition is opened. Pure."""

from dataclasses import dataclass

from pipeline.core.model import Cursor


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that can't be used.

    Its lane goes into FAILURE at the row's cursor, or at the committed offset if the cursor can't be read either. It
    waits for an operator, because an automatic continuation could skip or repeat events.

    Attributes:
        reason: what is wrong with the row, a short sentence.
        next: the row's cursor; None if it can't be read.
    """

    reason: str
    next: int | None = None


Row = Cursor | UnreadableRow
