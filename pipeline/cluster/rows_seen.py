"""The newest cursor row of every lane, as the topic tells. Pure.

At-most-once writes a row for each event, so a row is read only when somebody looks, or with the next round of the view:
of all those that a lane had in between, the newest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from pipeline.core.keys import decode_key
from pipeline.core.rows import Row
from pipeline.kafka.row_format import read_row
from pipeline.kafka.row_keys import KEEP_ALIVE_KEY, SOURCE_KEY

Place = tuple[str, int]
"""A source topic and its partition."""


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A row, and when it was written.

    Attributes:
        at: Unix seconds, by the clock of the worker that wrote it.
    """

    row: Row
    at: float


NO_ROWS: Mapping[Place, SeenRow] = {}


class RowsSeen:
    """The rows of all lanes, by subscription and place."""

    def __init__(self) -> None:
        self._unread: dict[tuple[bytes, Place], tuple[bytes | None, float]] = {}
        self._rows: dict[str, dict[Place, SeenRow]] = {}

    def take(self, key: bytes | None, place: Place, value: bytes | None, at: float) -> None:
        """A record of the topic."""
        if key is not None and key not in (KEEP_ALIVE_KEY, SOURCE_KEY):
            self._unread[key, place] = (value, at)

    def read(self, most: int) -> Iterator[str]:
        """Read up to so many rows that have come; the subscriptions whose rows have changed."""
        for at in list(islice(self._unread, most)):
            value, moment = self._unread.pop(at)
            key, place = at
            name = decode_key(key)
            if name is not None and self._put(name, place, None if value is None else SeenRow(read_row(value), moment)):
                yield name

    def _put(self, name: str, place: Place, seen: SeenRow | None) -> bool:
        if seen is not None:
            self._rows.setdefault(name, {})[place] = seen
            return True
        rows = self._rows.get(name)
        if rows is None or rows.pop(place, None) is None:
            return False
        if not rows:
            del self._rows[name]
        return True

    @property
    def has_unread(self) -> bool:
        """Whether rows have come that are not read."""
        return bool(self._unread)

    def of(self, name: str) -> Mapping[Place, SeenRow]:
        """The rows of a subscription."""
        return self._rows.get(name, NO_ROWS)

    def names(self) -> list[str]:
        """The subscriptions that have rows."""
        return list(self._rows)
