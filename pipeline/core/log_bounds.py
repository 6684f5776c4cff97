"""Whether an offset in a partition of the source topic still means what it meant when it was noted. Pure.

A log changes while it is read: retention deletes its beginning, an unclean election its end, and a topic that is
deleted and made again is another one under the same name. Then a committed offset and the cursor rows point nowhere, or
at other events. What follows:

    the topic was made again      go on from the beginning of the new log: nothing of it was delivered
    the offset is beyond the end  go on from the end: what was before the offset has been delivered
    retention has passed it       go on from the beginning of the log: what was before that can't be delivered any more

A broker that does not tell the ids of its topics (before Kafka 2.8, and the embedded one) leaves the first unseen: an
offset beyond the end then counts as the second.
"""

from dataclasses import dataclass
from typing import Final, Literal, Self

LARGEST_OFFSET: Final = 2**63 - 1
"""Kafka's offsets are signed numbers of 64 bits."""

BreakKind = Literal["recreated", "truncated", "retention"]
"""What has happened to a log."""


@dataclass(frozen=True, slots=True)
class Break:
    """An offset that has lost its meaning.

    Attributes:
        offset: it.
        goes_on_at: the offset to go on from instead.
    """

    kind: BreakKind
    offset: int
    goes_on_at: int

    @property
    def lost(self) -> int:
        """How many offsets were deleted before they were read: an upper bound of the events lost."""
        if self.kind == "recreated":
            return self.goes_on_at  # what retention has already deleted of the new log
        return max(0, self.goes_on_at - self.offset)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """One partition of the source topic, as its brokers tell.

    Attributes:
        begin: the first offset that is left.
        end: the offset that the next record gets.
        topic_id: of the topic it belongs to, None where no broker tells.
        former_id: of the topic that was last committed to, None if it was not noted. For rows that name no topic.
        broken: what had become of the committed offset. Who opens the partition tells of it: not all who try do.
        ahead: what is settled beyond the committed offset, as bits (ahead.py).
        begun_to: before which revision the subscriptions had begun at the committed offset (beginnings.py).
    """

    begin: int
    end: int
    topic_id: str | None = None
    former_id: str | None = None
    broken: Break | None = None
    ahead: int = 0
    begun_to: int = 0

    @classmethod
    def unseen(cls, topic_id: str | None) -> Self:
        """Of a partition that no broker leads now: any offset may be in it, and a fetch will tell."""
        return cls(0, LARGEST_OFFSET, topic_id)


def find_break(offset: int, topic_id: str | None, log: LogBounds) -> Break | None:
    """What has happened to an offset since it was noted; None if it is still good.

    Args:
        offset: before which everything is settled.
        topic_id: the topic it was noted for; None if unknown.
        log: as it is now.
    """
    noted = topic_id or log.former_id
    if noted is not None and log.topic_id is not None and noted != log.topic_id:
        return Break("recreated", offset, log.begin)
    if offset > log.end:
        return Break("truncated", offset, log.end)
    if offset < log.begin:
        return Break("retention", offset, log.begin)
    return None
