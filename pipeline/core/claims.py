"""The claims of a lane: at-most-once moves the durable cursor past an event before the event is sent (invariant I3).

    queue   40 41 42 43 44          one row claims 40 to 42: a crash may lose these events, and repeats none of them
            ^     ^ claimed_to: 43
            in flight

If a claimed event provably was not sent, its claim is handed back: the cursor moves back to the event.
"""

import asyncio
from itertools import islice, takewhile

from pipeline.core.errors import FencedError
from pipeline.core.in_flight import InFlight
from pipeline.core.lane_events import LaneEvents
from pipeline.core.ports import RowWriter


class Claims:
    """The claims of one lane.

    Args:
        rows: writes the lane's row.
        count: how many events one row may claim.
    """

    __slots__ = ("_count", "_events", "_key", "_rows")

    def __init__(self, key: bytes, events: LaneEvents, rows: RowWriter, count: int) -> None:
        self._key = key
        self._events = events
        self._rows = rows
        self._count = count

    def __repr__(self) -> str:
        """For example `<Claims to 43, handed back [40]>`."""
        progress = self._events.progress
        return f"<Claims to {progress.claimed_to}, handed back {sorted(progress.handed_back)}>"

    async def claim(self, flight: InFlight) -> None:
        """Claim the event and the next events of the queue.

        Returns when the row that moves the cursor past them is durable.
        """
        flight.claimed = True
        if flight.offset >= self._events.progress.claimed_to:
            await self._claim_from(flight)
        self._events.claimed(flight.offset)

    async def _claim_from(self, flight: InFlight) -> None:
        last = flight.offset
        for event in islice(self._events.queue, self._count - 1):
            last = event.offset
        # After an edit of the level, an unclaimed event may be in flight. The row must not claim it.
        self._events.progress.claimed_to = max(flight.offset + 1, min([last + 1, *self._events.unclaimed()]))
        try:
            await self._rows.write(self._key)
        except FencedError:
            self._withdraw(flight)
            raise
        except asyncio.CancelledError:
            # The partition is given back. Nothing was sent, and it is unknown whether the row is durable.
            self.hand_back(flight)
            raise

    def _withdraw(self, flight: InFlight) -> None:
        if self._events.in_flight.get(flight.offset) is flight:
            flight.claimed = False
            self._events.progress.withdraw(flight.offset)

    def hand_back(self, flight: InFlight) -> None:
        """Hand back the claim of an event that was not sent, and the claims made with the same row.

        Does nothing without a claim.
        """
        if flight.claimed and flight.epoch == self._events.epoch:
            flight.claimed = False
            self._step_back([flight.offset, *self.ahead()])

    def hand_back_ahead(self) -> None:
        """Hand back the claims of events that were claimed together with an earlier event and are not sent yet."""
        if ahead := self.ahead():
            self._step_back(ahead)

    def ahead(self) -> list[int]:
        """The events that were claimed together with an earlier event and still wait in the queue."""
        claimed_to = self._events.progress.claimed_to
        if not claimed_to:
            return []
        queued = takewhile(claimed_to.__gt__, (event.offset for event in self._events.queue))
        return [*(offset for offset in self._events.unclaimed() if offset < claimed_to), *queued]

    def _step_back(self, offsets: list[int]) -> None:
        self._events.progress.hand_back(offsets)
        self._rows.mark_stale(self._key)
