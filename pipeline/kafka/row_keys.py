r"""The keys of the rows in `<app>.cursors`. Partition 3 has the rows for partition 3 of every source topic.

    one source topic   the key is the id of the subscription
    several            \xff<topic>/<id of the subscription>

A definition may gain and lose topics. So workers read both forms, and a row keeps its key until it is written again. A
row with a plain key contains its topic's id.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.core.model import Cursor, Row

MARK: Final = b"\xff"
"""The first byte of a key that is not the id of a subscription; it does not occur in UTF-8."""
KEEP_ALIVE_KEY: Final = b"\xffkeep-alive"
"""The key of a record without meaning. Its value is always null, so compaction removes the record."""
SOURCE_KEY: Final = b"\xffsource-topic"
"""The key of the record with the id of the topic that was last delivered from the partition.

Kafka deletes a topic's offsets with the topic. Without this record, a recreated topic would look like a topic that was
never read.
"""


def split_key(key: bytes, topics: Sequence[str]) -> tuple[str, bytes] | None:
    """Source topic and subscription of a row, according to its key; None for a topic id, or a row of another topic.

    Args:
        key: the key of the row. A plain key counts as a key of the first topic, because it contains no topic; only the
            row does.
        topics: the source topics.
    """
    if not key.startswith(MARK):
        return topics[0], key
    topic, slash, name = key.removeprefix(MARK).partition(b"/")
    known = topic.decode(errors="replace")
    return None if not slash or name.startswith(MARK) or known not in topics else (known, name)


class FoundRows(NamedTuple):
    """The rows of one source topic in a partition of `<app>.cursors`.

    Attributes:
        rows: the rows, by subscription id.
        elsewhere: the ids whose rows have a key in one form, while the next write will use the other form.
        last_topic_id: the id of the topic that was delivered last; None if unknown.
    """

    rows: dict[bytes, Row]
    elsewhere: set[bytes]
    last_topic_id: str | None


class RowKeys:
    """The keys of one source topic's rows.

    Args:
        is_alone: whether it is the only source topic.
    """

    def __init__(self, topic: str, *, is_alone: bool) -> None:
        self.topic = topic
        self.is_alone = is_alone
        self._prefix = MARK + topic.encode() + b"/"

    def of(self, key: bytes) -> bytes:
        """The key with which the row of a subscription, or a topic id, is written."""
        return key if self.is_alone else self._prefix + key

    def other_of(self, key: bytes) -> bytes:
        """The other form of the key that `of` returns."""
        return self._prefix + key if self.is_alone else key

    def last_topic_id(self, topic_ids: Mapping[bytes, str | None], topic_id: str | None) -> str | None:
        """The id of the topic that was delivered last, from the ids in the partition; None if unknown.

        Args:
            topic_ids: the topic ids in a partition, by key.
            topic_id: the current id of the topic; None if unknown.
        """
        plain = topic_ids.get(SOURCE_KEY)
        if not self.is_alone and plain != topic_id:
            plain = None  # the stored id may be that of another topic
        return topic_ids.get(self._prefix + SOURCE_KEY) or plain

    def find(self, rows: Mapping[bytes, Row], topic_ids: Mapping[bytes, str | None], topic_id: str | None) -> FoundRows:
        """The rows in a partition that belong to this topic.

        Args:
            rows: the rows in the partition, by key.
            topic_ids: see `last_topic_id`.
            topic_id: see `last_topic_id`.
        """
        last = self.last_topic_id(topic_ids, topic_id)
        plain = {key: row for key, row in rows.items() if self._is_plain(key, row, topic_ids, {topic_id, last})}
        own = {key.removeprefix(self._prefix): row for key, row in rows.items() if key.startswith(self._prefix)}
        elsewhere = own.keys() if self.is_alone else plain.keys()
        return FoundRows(plain | own, set(elsewhere), last)

    def _is_plain(self, key: bytes, row: Row, topic_ids: Mapping[bytes, str | None], ids: set[str | None]) -> bool:
        """Whether a row with a plain key belongs to this topic."""
        if key.startswith(MARK):
            return False
        named = row.topic_id if isinstance(row, Cursor) else None
        if named is None:
            return self.is_alone or (topic_ids.get(SOURCE_KEY) is not None and topic_ids[SOURCE_KEY] in ids)
        return named in ids or (self.is_alone and ids == {None})
