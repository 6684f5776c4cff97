"""Where the subscriptions of one partition begin, with `routing: match`.

    log          40 . . 43 . . 46 . . 49          a subscription from 43 on
    stream at 42      ^ it begins with the stream
    stream at 48                    ^ it begins behind, at 43

The record of a subscription contains, for each partition, the first offset that is for it. A worker may read the
record when the stream has passed that offset; then the lane begins behind, with a row. A live lane has no row, so after
a restart two kinds of subscriptions look the same: those whose events up to the committed offset are settled, and those
that the former owner had not read yet. So each commit stores a revision, and all subscriptions created before it have
begun.
"""

from pipeline.core.lane import Lane
from pipeline.core.model import Cursor
from pipeline.core.subscription import Subscription


def is_of_former(row: Cursor, subscription: Subscription) -> bool:
    """Whether a row belongs to a deleted subscription, and *subscription* was created later with the same id.

    At least one record, the deletion, lies between the last revision of the deleted one and the first of the new one.
    A subscription written for `routing: key` does not record its first revision, so the answer is False.
    """
    return subscription.starts is not None and row.revision < subscription.created - 1


class Beginnings:
    """Which subscriptions have begun in one partition.

    Args:
        topic: the source topic.
        number: the partition.
        topic_id: the id of the source topic; None if it is not known.
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
        """The first offset that is for a subscription; *otherwise* if its record does not say."""
        start = subscription.start_in(self._topic, self._number, self._topic_id)
        return otherwise if start is None else start

    def began_behind(self, lane: Lane, subscription: Subscription) -> None:
        """Note that a lane begins behind the stream, and that its row is not durable yet."""
        self._behind[lane] = subscription.created

    def begun_to(self, read_to: int) -> int:
        """The revision to commit: all subscriptions created before it have begun.

        Args:
            read_to: the registry has read all records before this revision.
        """
        for lane in [lane for lane in self._behind if not lane.events.held.awaits_row]:
            del self._behind[lane]
        return min([read_to, *self._behind.values()])
