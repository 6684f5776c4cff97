"""Where the subscriptions of one partition begin, with `routing: match`.

    log          40 . . 43 . . 46 . . 49          a subscription from 43 on
    stream at 42      ^ it begins with the stream
    stream at 48                    ^ it begins behind, at 43

Whoever makes a subscription notes in its record the first offset of each partition that is for it. A worker hears of
it later, when the stream may have passed that offset; then its lane begins behind, with a row. A live lane has no
row, so after a restart two subscriptions look alike: one whose events up to the committed offset are settled, and one
that nobody had heard of. So each commit notes a revision: all made before it have begun.
"""

from pipeline.core.lane import Lane
from pipeline.core.model import Cursor
from pipeline.core.subscription import Subscription


def is_of_former(row: Cursor, subscription: Subscription) -> bool:
    """Whether a row is of a subscription that was deleted, and made again since.

    Between the last revision of the one and the first of the other is at least the record that deleted it. That is not
    known of a subscription that was written for `routing: key`: its records name no first one.
    """
    return subscription.starts is not None and row.revision < subscription.created - 1


class Beginnings:
    """Which subscriptions have begun in one partition.

    Args:
        topic: the source topic.
        number: of the partition.
        topic_id: of the source topic, None if it is not known.
    """

    def __init__(self, topic: str, number: int, topic_id: str | None) -> None:
        self._topic = topic
        self._number = number
        self._topic_id = topic_id
        self._behind: dict[Lane, int] = {}  # lanes that have begun behind, and when their subscription was made

    def __repr__(self) -> str:
        """As `<Beginnings of 2, 1 behind>`."""
        return f"<Beginnings of {self._number}, {len(self._behind)} behind>"

    def place_of(self, subscription: Subscription, otherwise: int) -> int:
        """The first offset that is for a subscription; *otherwise* if its record does not say."""
        start = subscription.start_in(self._topic, self._number, self._topic_id)
        return otherwise if start is None else start

    def began_behind(self, lane: Lane, subscription: Subscription) -> None:
        """The lane of a subscription begins before the stream, and its row is on its way."""
        self._behind[lane] = subscription.created

    def begun_to(self, heard_to: int) -> int:
        """Subscriptions that were made before this revision have begun, and a commit may say so.

        Args:
            heard_to: everything before this revision has been heard of.
        """
        for lane in [lane for lane in self._behind if not lane.events.held.awaits_row]:
            del self._behind[lane]
        return min([heard_to, *self._behind.values()])
