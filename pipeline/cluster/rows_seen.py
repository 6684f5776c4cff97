"""The newest cursor row of every lane in the topic. Pure.

At-most-once writes a row for each event. To save time, only the newest row of each lane is decoded, when a caller asks
for it or in the next round of the view.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from pipeline.core.keys import decode_key
from pipeline.core.model import Row
from pipeline.kafka.row_format import read_row
from pipeline.kafka.row_keys import KEEP_ALIVE_KEY, SOURCE_KEY, split_key

SourcePartition = tuple[str, int]
"""A source topic and its partition."""


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A row, and when it was written.

    Attributes:
        at: when it was written, by the clock of the worker that wrote it, Unix seconds.
        key: the key of the record. It changes when the definition gains or loses topics (kafka/row_keys.py).
    """

    row: Row
    at: float
    key: bytes = b""


NO_ROWS: Mapping[SourcePartition, SeenRow] = {}


class RowsSeen:
    """The rows of all lanes, by subscription and partition."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics
        self._unread: dict[tuple[bytes, int], tuple[bytes | None, float]] = {}
        self._rows: dict[str, dict[SourcePartition, SeenRow]] = {}

    def take(self, key: bytes | None, partition: int, value: bytes | None, at: float) -> None:
        """Add a record of the topic."""
        if key is not None and key not in (KEEP_ALIVE_KEY, SOURCE_KEY):
            self._unread[key, partition] = (value, at)

    def read(self, most: int) -> Iterator[str]:
        """Decode at most this many new rows. Returns the subscriptions whose rows have changed."""
        for at in list(islice(self._unread, most)):
            value, moment = self._unread.pop(at)
            key, partition = at
            found = split_key(key, self._topics)
            name = None if found is None else decode_key(found[1])
            if found is None or name is None:
                continue
            place = (found[0], partition)
            if value is not None:
                self._rows.setdefault(name, {})[place] = SeenRow(read_row(value), moment, key)
                yield name
            elif self._delete(name, place, key):
                yield name

    def _delete(self, name: str, place: SourcePartition, key: bytes) -> bool:
        """Remove a deleted row, unless the lane's row has a newer key. Returns whether a row was removed."""
        rows = self._rows.get(name)
        if rows is None or place not in rows or rows[place].key != key:
            return False
        del rows[place]
        if not rows:
            del self._rows[name]
        return True

    @property
    def has_unread(self) -> bool:
        """Whether some rows are not decoded yet."""
        return bool(self._unread)

    def of(self, name: str) -> Mapping[SourcePartition, SeenRow]:
        """The rows of a subscription."""
        return self._rows.get(name, NO_ROWS)

    def names(self) -> list[str]:
        """The subscriptions that have rows."""
        return list(self._rows)
