"""Whether a stored offset of the source topic is still valid. Pure.

A log may change: retention deletes its beginning, an unclean leader election truncates its end, or the topic is deleted
and created again. The committed offset and the cursor rows then point to no event, or to a different one:

    the topic was recreated       continue at the beginning of the new log, which was not delivered yet
    the offset is beyond the end  continue at the end: everything before the offset was delivered
    retention has passed it       continue at the beginning of the log: earlier events can't be delivered any more

Brokers before Kafka 2.8, and the embedded broker, have no topic ids. Then a recreated topic can't be recognised, and an
offset beyond the end counts as the second case.
"""

from dataclasses import dataclass
from typing import Final, Literal, Self

LARGEST_OFFSET: Final = 2**63 - 1
"""Kafka's offsets are signed numbers of 64 bits."""

BreakKind = Literal["recreated", "truncated", "retention"]
"""What happened to a log."""


@dataclass(frozen=True, slots=True)
class Break:
    """A stored offset that is no longer valid.

    Attributes:
        offset: the stored offset.
        goes_on_at: the offset at which to continue instead.
    """

    kind: BreakKind
    offset: int
    goes_on_at: int

    @property
    def lost(self) -> int:
        """How many offsets were deleted before they were read: an upper bound of the lost events."""
        if self.kind == "recreated":
            return self.goes_on_at  # retention has already deleted the first events of the new log
        return max(0, self.goes_on_at - self.offset)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """One partition of the source topic, as its brokers describe it, and what was committed for it.

    Attributes:
        begin: the first offset that still exists.
        end: the offset that the next record gets.
        topic_id: the id of the topic; None if the broker has no topic ids.
        former_id: the topic id in the last commit, for rows that contain no id; None if the commit contains none.
        commit_break: the break of the committed offset, if any. It is reported when the partition has been opened.
        ahead: the events settled beyond the committed offset, as bits (ahead.py).
        begun_to: subscriptions created before this revision had begun when the offset was committed (beginnings.py).
    """

    begin: int
    end: int
    topic_id: str | None = None
    former_id: str | None = None
    commit_break: Break | None = None
    ahead: int = 0
    begun_to: int = 0

    @classmethod
    def unseen(cls, topic_id: str | None) -> Self:
        """The bounds of a partition without a leader: they include every offset, until the first fetch."""
        return cls(0, LARGEST_OFFSET, topic_id)


def find_break(offset: int, topic_id: str | None, log: LogBounds) -> Break | None:
    """What happened to an offset since it was stored; None if the offset is still valid.

    Args:
        offset: the stored offset; everything before it is settled.
        topic_id: the id of the topic for which the offset was stored; None if unknown.
        log: the current log.
    """
    noted = topic_id or log.former_id
    if noted is not None and log.topic_id is not None and noted != log.topic_id:
        return Break("recreated", offset, log.begin)
    if offset > log.end:
        return Break("truncated", offset, log.end)
    if offset < log.begin:
        return Break("retention", offset, log.begin)
    return None
