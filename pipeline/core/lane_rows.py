"""The cursor rows of one partition's lanes: what a row contains, when it is written, and when it is deleted.

A lane writes its row at once if the row has to be durable before the lane continues (`write`). Otherwise it marks the
row as out of date (`mark_stale`). The next checkpoint then writes the row, or deletes it if the committed offset is
enough.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from pipeline.core.errors import FencedError
from pipeline.core.in_flight import NO_TRIES, InFlight, Shelved
from pipeline.core.lane import Lane
from pipeline.core.lane_state import LaneState
from pipeline.core.model import Cursor, Standing
from pipeline.core.ports import RowStore
from pipeline.core.progress import Progress
from pipeline.core.waiting import oldest_ms, waiting_in

CHECKPOINT_EVENTS: Final = 500
"""A lane that is behind writes its row at once after this many offsets, without waiting for the checkpoint."""
COUNTED_ROWS: Final = 50
"""How many rows per second are written only because the displayed number of waiting events has changed."""
COUNT_SECONDS: Final = 1.0
IDLE_STRIDE: Final = 10_000
"""While a lane is idle, its row is written again when the stream has advanced by this many offsets."""
LAST_ROWS_SECONDS: Final = 10.0
"""How long a drain waits for the last rows. Without them, events may be repeated.

With at-most-once, events whose claim was handed back are given up instead. With QoS none, queued events may be lost.
"""


def row_of(lane: Lane) -> Cursor:
    """The row to be written now. Within a revision, `next` only decreases if a claim is handed back (I5)."""
    cursor = lane.next
    first = _first(lane, cursor)
    tries, not_before = (NO_TRIES, 0.0) if first is None else (first.tries, first.not_before)
    return Cursor(
        cursor,
        lane.status,
        lane.cause,
        attempt=tries.made,
        first_attempt_at=tries.first_at,
        not_before=not_before,
        revision=lane.events.progress.revision,
        error=tries.error,
        event_ms=oldest_ms(lane),
        standing=standing_of(lane),
    )


def standing_of(lane: Lane) -> Standing:
    """The current standing of the lane."""
    waiting = waiting_in(lane)
    return Standing(
        lane.state is LaneState.LIVE,
        waiting.at_most,
        waiting.is_exact,
        lane.dispatched_to,
        lane.events.progress.last_success_at,
    )


def _first(lane: Lane, cursor: int) -> InFlight | Shelved | None:
    flight = lane.events.in_flight.get(cursor)
    if flight is not None and not flight.claimed:
        return flight
    return lane.events.shelved if lane.events.shelved is not None and lane.events.shelved.offset == cursor else None


def is_trying(lane: Lane, tries: int = 2) -> bool:
    """Whether the row has to record tries: the event was tried at least *tries* times, or waits for another attempt."""
    return lane.events.shelved is not None or any(
        flight.tries.made >= tries or flight.not_before for flight in lane.events.in_flight.values()
    )


class LaneRows:
    """Writes the rows of one partition's lanes.

    Attributes:
        counted_to: the offset up to which the counts of waiting events are complete in the durable rows of all lanes
            that are behind or halted.

    Args:
        lanes: the lanes of the partition, by key.
        on_fenced: called when the store finds that another worker owns the partition.
        start: the offset at which the stream begins.
    """

    def __init__(self, rows: RowStore, lanes: Mapping[bytes, Lane], on_fenced: Callable[[], None], start: int) -> None:
        self._rows = rows
        self._lanes = lanes
        self._on_fenced = on_fenced
        self._stale: dict[Lane, None] = {}
        # By lane, the first event that its row does not count. The lowest offset comes first.
        self._uncounted: dict[Lane, int] = {}
        self._counted_at = -math.inf
        self._last: asyncio.Future[None] | None = None
        self.counted_to = start

    def write(self, key: bytes) -> "asyncio.Future[None]":
        """See `ports.RowWriter`."""
        lane = self._lanes[key]
        self._stale.pop(lane, None)
        self._uncounted.pop(lane, None)
        row = row_of(lane)
        lane.events.progress.row_sent(row)
        written = self._put(key, row)
        if lane.events.progress.handed_back:
            written.add_done_callback(partial(_tell, lane.events.progress, row))
        return written

    def mark_stale(self, key: bytes) -> None:
        """See `ports.RowWriter`."""
        lane = self._lanes[key]
        row = lane.events.progress.row
        if row is not None and lane.state is LaneState.BEHIND and lane.next - row.next >= CHECKPOINT_EVENTS:
            self.write(key)
        else:
            self._stale[lane] = None

    def uncounted(self, key: bytes, offset: int) -> None:
        """See `ports.RowWriter`."""
        self._uncounted.setdefault(self._lanes[key], offset)

    def delete(self, lane: Lane) -> None:
        """Delete the row of a lane that needs no row."""
        self.forget(lane)
        lane.events.progress.row_deleted()
        self._put(lane.key, None)

    def forget(self, lane: Lane) -> None:
        """Forget a lane that was removed and has no row."""
        self._stale.pop(lane, None)
        self._uncounted.pop(lane, None)

    def _put(self, key: bytes, row: Cursor | None) -> "asyncio.Future[None]":
        written = self._rows.put(key, row)
        written.add_done_callback(self._row_written)
        self._last = written
        return written

    def _row_written(self, row: "asyncio.Future[None]") -> None:
        if not row.cancelled() and isinstance(row.exception(), FencedError):
            self._on_fenced()

    def refresh(self, committed: int | None, begun_to: int) -> None:
        """Write the rows that are out of date, and delete those that the last commit makes unnecessary.

        Args:
            committed: the committed offset; None if no row may be deleted.
            begun_to: the committed revision, before which subscriptions have begun (beginnings.py).
        """
        stale, self._stale = self._stale, {}
        for lane in stale:
            self._refresh_one(lane, committed, begun_to)

    def count(self, dispatched_to: int, now: float) -> None:
        """Once a second, write some of the rows whose counts of waiting events are out of date, oldest first."""
        if now < self._counted_at + COUNT_SECONDS:
            return
        self._counted_at = now
        for lane in list(islice(self._uncounted, COUNTED_ROWS)):
            if lane.state is LaneState.LIVE:
                del self._uncounted[lane]  # the lane has read the events that were left to the log
            else:
                self.write(lane.key)
        counted_to = next(iter(self._uncounted.values()), dispatched_to)
        # Rows become durable in order.
        if self._last is None:
            self.counted_to = counted_to
        else:
            self._last.add_done_callback(partial(self._counted, counted_to))

    def _counted(self, offset: int, row: "asyncio.Future[None]") -> None:
        if not row.cancelled() and row.exception() is None:
            self.counted_to = max(self.counted_to, offset)

    def _refresh_one(self, lane: Lane, committed: int | None, begun_to: int) -> None:
        row = lane.events.progress.row
        if lane.is_in_window and not is_trying(lane) and self._is_superfluous(lane, row, committed, begun_to):
            if row is not None:
                self.delete(lane)
            return
        if row is None or self._is_stale(lane, row):
            self.write(lane.key)
        if lane.state is LaneState.LIVE:
            self._stale[lane] = None

    def _is_superfluous(self, lane: Lane, row: Cursor | None, committed: int | None, begun_to: int) -> bool:
        if row is None:
            return True
        subscription = lane.subscription
        if subscription is not None:
            # A row that records commands is kept as long as the subscription's record contains commands. Without the
            # row, they would be carried out again. The row of a lane that began behind is kept until a commit records
            # that the lane has begun.
            has_begun = subscription.starts is None or subscription.created < begun_to
            if subscription.commands or not has_begun:
                return False
        return committed is not None and committed >= row.next

    def _is_stale(self, lane: Lane, row: Cursor) -> bool:
        current = row_of(lane)
        has_followed = lane.events.progress.settled_to <= row.next
        if lane.is_idle and has_followed and current.next - row.next < IDLE_STRIDE:
            # Only `dispatched` has advanced, as in all lanes. With the old row, the next owner reads a stretch of the
            # log that has no events of this lane, which does no harm.
            current = replace(current, next=row.next)
        return current != row or (lane.state is not LaneState.LIVE and current.standing != row.standing)

    async def write_last(self, committable: int) -> None:
        """Write the rows that the next owner needs, before *committable* is committed and the partition closes."""
        rows = [self.write(lane.key) for lane in self._lanes.values() if self._needs_row(lane, committable)]
        if rows:
            await asyncio.wait(rows, timeout=LAST_ROWS_SECONDS)

    def _needs_row(self, lane: Lane, committable: int) -> bool:
        progress = lane.events.progress
        if lane.events.held.awaits_row:
            return True
        if progress.row is not None:
            return bool(progress.handed_back) or row_of(lane) != progress.row
        # Without such a row, the next owner would again send events that were settled beyond the committable offset.
        is_sent_again = progress.settled_to > committable
        # With QoS none, the commit may pass events that are still in the queue, while other rows are written.
        is_passed = not lane.is_in_window
        # A cancelled attempt counts too.
        return is_sent_again or is_passed or is_trying(lane, tries=1)


def _tell(progress: Progress, row: Cursor, written: "asyncio.Future[None]") -> None:
    if not written.cancelled() and written.exception() is None:
        progress.row_landed(row)
