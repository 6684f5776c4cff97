"""Where the subscriptions of one partition begin, with `routing: match`.

    log          40 . . 43 . . 46 . . 49          a subscription that begins at 43
    stream at 42      ^ its lane begins live
    stream at 48                    ^ its lane begins behind, and reads the log from 43

A subscription's record contains, for each partition, the first offset whose event the subscription gets. If the stream
has passed this offset when a worker reads the record, the lane begins behind, with a row.

After a restart, there are two kinds of subscriptions without a row. Some were live: their events up to the committed
offset are settled. Others have not begun, because the former owner of the partition had not read their records yet. To
distinguish the two kinds, each commit contains a revision: subscriptions that were created before this revision have
begun.
"""

from pipeline.core.lane import Lane
from pipeline.core.model import Cursor
from pipeline.core.subscription import Subscription


def is_of_former(row: Cursor, subscription: Subscription) -> bool:
    """Whether a row belongs to a deleted subscription with the same id as *subscription*.

    The record of the deletion lies between the last revision of the deleted subscription and the first revision of the
    new one. A subscription written for `routing: key` does not record its first revision, so the result is False.
    """
    return subscription.starts is not None and row.revision < subscription.created - 1


class Beginnings:
    """Which subscriptions have begun in one partition.

    Args:
        topic_id: the id of the source topic; None if unknown.
    """

    def __init__(self, topic: str, number: int, topic_id: str | None) -> None:
        self._topic = topic
        self._number = number
        self._topic_id = topic_id
        self._behind: dict[Lane, int] = {}  # lanes that began behind -> first revision of their subscription

    def __repr__(self) -> str:
        """For example `<Beginnings of 2, 1 behind>`."""
        return f"<Beginnings of {self._number}, {len(self._behind)} behind>"

    def first_offset(self, subscription: Subscription, otherwise: int) -> int:
        """The offset from which a subscription gets events, according to its record; *otherwise* if that names none."""
        start = subscription.start_in(self._topic, self._number, self._topic_id)
        return otherwise if start is None else start

    def began_behind(self, lane: Lane, subscription: Subscription) -> None:
        """Record that a lane begins behind the stream, and that its row is not durable yet."""
        self._behind[lane] = subscription.created

    def begun_to(self, read_to: int) -> int:
        """The revision to commit: all subscriptions created before it have begun.

        Args:
            read_to: the registry has read all records before this revision.
        """
        for lane in [lane for lane in self._behind if not lane.events.held.awaits_row]:
            del self._behind[lane]
        return min([read_to, *self._behind.values()])
