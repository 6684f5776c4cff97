"""Pages through the attempts of a subscription, newest first.

The log is read backwards in periods of growing length until the time limit. A page says how far back the log was read.
"""

import asyncio
import heapq
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from pipeline.cluster.attempts import Entry, Results, decoded
from pipeline.cluster.log_scan import LogScan, OutOfTime
from pipeline.core.clock import rfc3339
from pipeline.core.errors import ConfigurationError
from pipeline.core.model import Event
from pipeline.core.shown import shown

FIRST_STRETCH_SECONDS: Final = 2.0
FEW_RECORDS: Final = 2_000
"""A period with at most this many records is read in one step."""
OVERLAP_MS: Final = 5_000
"""The largest time by which records of different workers may be out of order."""


class EntryPosition(NamedTuple):
    """The position of an entry in the log. Newer entries have larger positions."""

    at_ms: int
    partition: int
    offset: int
    number: int

    def __str__(self) -> str:
        return ".".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> "EntryPosition":
        """Parse the `next` of an earlier page.

        Raises:
            ConfigurationError: *text* is not the `next` of a page.
        """
        numbers = text.split(".")
        if len(numbers) != len(cls._fields) or not all(each.isascii() and each.isdecimal() for each in numbers):
            raise ConfigurationError(f"after: {shown(text)} is not the `next` of an answer")
        return cls(*map(int, numbers))


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Some attempts of a subscription, newest first.

    Attributes:
        next: the argument *after* for the next page, which has older entries; None if there are no older entries.
        searched_to: how far back the log was read, Unix seconds; None if all of it was read.
    """

    items: tuple[Entry, ...]
    next: str | None
    searched_to: float | None

    def as_document(self) -> dict[str, Any]:
        """The page as JSON."""
        searched_to = None if self.searched_to is None else rfc3339(self.searched_to, "milliseconds")
        return {"items": [each.as_document() for each in self.items], "next": self.next, "searchedTo": searched_to}


class Backwards:
    """Reads the log for one subscription, newest first.

    Args:
        scan: reads the log until its time limit.
        before: entries at this position and newer ones are left out; None: no entry is left out.
        limit: the largest number of entries on a page.
        webhook_id: only entries of this event; None: entries of all events.
    """

    def __init__(
        self, scan: LogScan, subscription: str, before: EntryPosition | None, limit: int, webhook_id: str | None
    ) -> None:
        self._scan = scan
        self._subscription = subscription
        self._webhook_id = webhook_id
        self._mark = TypeAdapter(str).dump_json(subscription)  # every record about the subscription contains its id
        self._before = before
        self._limit = limit

    async def run(self) -> AttemptPage:
        """The page."""
        scan = self._scan
        begins, ends = await scan.begins(), await scan.ends()
        until_ms = time.time() * 1000 + OVERLAP_MS
        found: list[tuple[EntryPosition, Entry]] = []
        complete_ms = until_ms
        try:
            if self._before is not None:
                until_ms = complete_ms = self._before.at_ms
                ends = await scan.offsets_at(until_ms + OVERLAP_MS, ends)
            seconds = FIRST_STRETCH_SECONDS
            while ends != begins and len(found) <= self._limit:
                began = scan.seconds_left
                since_ms = complete_ms - seconds * 1000
                starts = begins
                if sum(ends.values()) - sum(begins.values()) > FEW_RECORDS:
                    starts = await scan.offsets_at(since_ms, ends)
                    starts = {number: max(start, begins[number]) for number, start in starts.items()}
                for number in scan.numbers:
                    found = self._newest([*found, *await self._stretch(number, starts[number], ends[number])])
                ends, complete_ms = starts, since_ms
                # The next period is chosen so that reading it takes half of the remaining time.
                seconds *= min(2.0, 0.5 * scan.seconds_left / max(began - scan.seconds_left, 0.001))
        except OutOfTime:
            found = [each for each in found if each[0].at_ms >= complete_ms]
        return self._page(found, None if ends == begins else complete_ms)

    def _page(self, found: Sequence[tuple[EntryPosition, Entry]], complete_ms: float | None) -> AttemptPage:
        shown_now = found[: self._limit]
        items = tuple(entry for _, entry in shown_now)
        if len(found) > self._limit:
            return AttemptPage(items, str(shown_now[-1][0]), None if complete_ms is None else complete_ms / 1000)
        if complete_ms is None:
            return AttemptPage(items, None, None)
        return AttemptPage(items, str(EntryPosition(max(0, int(complete_ms)), 0, 0, 0)), complete_ms / 1000)

    def _newest(self, found: Iterable[tuple[EntryPosition, Entry]]) -> list[tuple[EntryPosition, Entry]]:
        return heapq.nlargest(self._limit + 1, found, key=lambda each: each[0])

    async def _stretch(self, number: int, start: int, end: int) -> list[tuple[EntryPosition, Entry]]:
        found: list[tuple[EntryPosition, Entry]] = []
        async for records in self._scan.read(number, start, end):
            for record in records:
                if record.value is not None and self._mark in record.value:
                    found += self._entries(record)
            found = self._newest(found)
            await asyncio.sleep(0)
        return found

    def _entries(self, record: Event) -> list[tuple[EntryPosition, Entry]]:
        results = decoded(record.value)
        if not isinstance(results, Results):
            return []
        places = (
            (EntryPosition(max(0, record.timestamp), record.partition, record.offset, index), entry)
            for index, entry in enumerate(sorted(results.of(self._subscription), key=lambda entry: entry.result.at))
            if self._webhook_id in {None, entry.webhook_id}
        )
        return [(place, entry) for place, entry in places if self._before is None or place < self._before]
