r"""Whose the rows of `<app>.cursors` are: a partition of it has those of every source topic's partition of that number.

    one source topic   the key is the id of the subscription
    several            \xff<topic>/<id of the subscription>

A definition may gain and lose topics, so each form is read, and a row keeps its key until it is written again. A row
with the plain key is of the topic whose id it names.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.core.model import Cursor
from pipeline.core.rows import Row

MARK: Final = b"\xff"
"""Begins a key that is not the id of a subscription: it is not UTF-8."""
KEEP_ALIVE_KEY: Final = b"\xffkeep-alive"
"""Its value is always null, so compaction removes it."""
SOURCE_KEY: Final = b"\xffsource-topic"
"""Its value is the id of the topic whose events the partition's lanes got last. Kafka deletes the group's offsets
together with a topic: without this row, a recreated topic would look like one that was never read."""


def split_key(key: bytes, topics: Sequence[str]) -> tuple[str, bytes] | None:
    """Source topic and subscription of a row, as far as its key tells; None if it is a note, or of another topic.

    Args:
        key: of the row. A plain one is taken for one of the first topic; until that row is written again, only the
            topic id in it tells more.
        topics: the source topics.
    """
    if not key.startswith(MARK):
        return topics[0], key
    topic, slash, name = key.removeprefix(MARK).partition(b"/")
    known = topic.decode(errors="replace")
    return None if not slash or name.startswith(MARK) or known not in topics else (known, name)


class Found(NamedTuple):
    """What one source topic has in a partition of `<app>.cursors`.

    Attributes:
        rows: by subscription id.
        elsewhere: the ids whose row does not have the key under which it is written.
        noted_id: the id of the topic that was delivered last, None if it is not known.
    """

    rows: dict[bytes, Row]
    elsewhere: set[bytes]
    noted_id: str | None


class RowKeys:
    """The keys of one source topic's rows.

    Args:
        topic: the source topic.
        is_alone: whether it is the only one.
    """

    def __init__(self, topic: str, *, is_alone: bool) -> None:
        self.topic = topic
        self.is_alone = is_alone
        self._prefix = MARK + topic.encode() + b"/"

    def of(self, key: bytes) -> bytes:
        """The key under which the row of a subscription is written, or a note."""
        return key if self.is_alone else self._prefix + key

    def other_of(self, key: bytes) -> bytes:
        """The key under which it would be written with another number of topics."""
        return self._prefix + key if self.is_alone else key

    def noted_id(self, notes: Mapping[bytes, str | None], topic_id: str | None) -> str | None:
        """The id of the topic that was delivered last, if the notes tell.

        Args:
            notes: the topic ids in a partition, by key.
            topic_id: of the topic as it is now, None if it is not known.
        """
        plain = notes.get(SOURCE_KEY)
        if not self.is_alone and plain != topic_id:
            plain = None  # it may be that of another topic
        return notes.get(self._prefix + SOURCE_KEY) or plain

    def find(self, rows: Mapping[bytes, Row], notes: Mapping[bytes, str | None], topic_id: str | None) -> Found:
        """What of the rows in a partition is this topic's.

        Args:
            rows: by key.
            notes: as for `noted_id`.
            topic_id: as for `noted_id`.
        """
        noted = self.noted_id(notes, topic_id)
        plain = {key: row for key, row in rows.items() if self._is_plain(key, row, notes, {topic_id, noted})}
        own = {key.removeprefix(self._prefix): row for key, row in rows.items() if key.startswith(self._prefix)}
        elsewhere = own.keys() if self.is_alone else plain.keys()
        return Found(plain | own, set(elsewhere), noted)

    def _is_plain(self, key: bytes, row: Row, notes: Mapping[bytes, str | None], ids: set[str | None]) -> bool:
        """Whether a row is of this topic and has the key that it has without others."""
        if key.startswith(MARK):
            return False
        named = row.topic_id if isinstance(row, Cursor) else None
        if named is None:
            return self.is_alone or (notes.get(SOURCE_KEY) is not None and notes[SOURCE_KEY] in ids)
        return named in ids or (self.is_alone and ids == {None})
