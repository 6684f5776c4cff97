"""Tracks where the events of one lane are. lane.py decides what happens to them.

In order of offsets:

    in flight (being sent, or waiting for a retry)  ≤  queue  ≤  beyond: the next events of the stream (live), or
                                                                 the log from `in_log.read_from` on (all others)

The cursor (`next`) is the first of these offsets. The partition's window also holds each event that came from the
stream, until the event is settled or a durable row keeps it.
"""

from collections.abc import Iterable

from pipeline.core.held_offsets import HeldOffsets
from pipeline.core.in_flight import OVERTAKEN, InFlight, Shelved, Tries
from pipeline.core.in_log import InLog
from pipeline.core.lane_queue import LaneQueue
from pipeline.core.model import Cause, Cursor, Event
from pipeline.core.ports import Home, LaneServices
from pipeline.core.progress import Progress
from pipeline.core.subscription import Subscription


class LaneEvents:
    """The events of one lane.

    Only `Lane` and `Claims` change them, with two exceptions: `LaneRows` records rows in `progress`, and `Reconciler`
    may reset the count of `in_log`.

    Args:
        start: all events of the lane before this offset are settled.

    Attributes:
        queue: the events that no runner has taken.
        in_flight: the events that runners have taken, by offset.
        in_log: the events in the log that are not in memory; meaningless while the lane is live.
        held: the offsets that the window holds.
        progress: what is settled.
        shelved: the tries of the next event, if it is not in memory.
        epoch: increased when a command moves the cursor. Results of events from an earlier epoch do not count.
    """

    __slots__ = (
        "_home",
        "_matched_by",
        "_matching",
        "epoch",
        "held",
        "in_flight",
        "in_log",
        "progress",
        "queue",
        "shelved",
    )

    def __init__(self, home: Home, services: LaneServices, start: int) -> None:
        self._home = home
        self.queue = LaneQueue(services.limits, services.memory)
        self.in_flight: dict[int, InFlight] = {}
        self.in_log = InLog(start)
        self.held = HeldOffsets(home)
        self.progress = Progress(start)
        self.shelved: Shelved | None = None
        # With `routing: match`: the revision with which new events are matched, and the revision with which all queued
        # events were matched (None if these have to be matched again).
        self._matching: Subscription | None = None
        self._matched_by: Subscription | None = None
        self.epoch = 0

    def __repr__(self) -> str:
        """For example `<LaneEvents in_flight=[40] queued=2 read_from=45 held=3>`."""
        return (
            f"<LaneEvents in_flight={[*self.in_flight]} queued={len(self.queue)} read_from={self.in_log.read_from} "
            f"held={len(self.held)}>"
        )

    # --------------------------------------------------------------- where they are

    def next(self, beyond: int) -> int:
        """The first offset that is not settled; events that are not in memory begin at *beyond*.

        With at-most-once, a claimed event counts as settled.
        """
        waiting = max(self._first_queued(beyond), self.progress.claimed_to)
        unsettled = min([waiting, *self.unclaimed()])
        return max(unsettled, self.progress.floor)

    def _first_queued(self, beyond: int) -> int:
        first = self.queue.first
        return beyond if first is None else first.offset

    def unclaimed(self) -> list[int]:
        """The offsets in flight that at-most-once has not claimed."""
        return [offset for offset, flight in self.in_flight.items() if not flight.claimed]

    def has(self, offset: int) -> bool:
        """Whether the event at *offset* is known to be the lane's, and is neither settled nor claimed."""
        is_shelved = self.shelved is not None and self.shelved.offset == offset
        return is_shelved or offset in self.unclaimed() or any(event.offset == offset for event in self.queue)

    @property
    def is_empty(self) -> bool:
        """Whether no event is in memory and the window holds none."""
        return not (self.queue or self.in_flight or self.held)

    # --------------------------------------------------------------- from the stream or the log into the queue

    def pass_by(self, event: Event) -> None:
        """Leave an event of the stream to the log, for a lane that is not live."""
        # Until the row is durable and keeps the event, the window has to hold it.
        if self.held.awaits_row:
            self.held.add(event.offset)
        self.in_log.came(event)

    def match_by(self, subscription: Subscription | None) -> None:
        """With `routing: match`: match new events with this revision, and match the queued events again."""
        self._matching, self._matched_by = subscription, None

    def queue_up(self, event: Event) -> None:
        """Add an event to the queue."""
        if not self.queue:
            self._matched_by = self._matching
        self.queue.append(event)

    def feed(self, events: Iterable[Event], end: int) -> None:
        """Queue the events of a stretch of the log that begins at or before `in_log.read_from`, and ends at *end*."""
        for event in events:
            # If several events were in flight and one of them returned to the log, all are read again. The others are
            # skipped here.
            if event.offset < self.in_log.read_from or event.offset in self.in_flight:
                continue
            if self.queue.is_full or self.queue.is_rationed:
                self.in_log.read_from = event.offset
                return
            self.queue_up(event)
            self.in_log.was_read(event)
        self.in_log.read_from = max(self.in_log.read_from, end)

    def end_reading(self) -> None:
        """Record that everything before the stream's next event has been read."""
        self.progress.floor = self.next(self.in_log.read_from)
        # All events from the cursor on are in memory. If they return to the log, each is counted.
        self.in_log.forget(self.progress.floor)

    # --------------------------------------------------------------- from the queue to a runner, and settled

    def take(self) -> InFlight | None:
        """Move the first event of the queue to the events in flight, and return it; None if the queue is empty."""
        event = self.queue.popleft()
        if event is None:
            return None
        offset = event.offset
        flight = InFlight(event, offset, self.epoch, wanted_by=self._matched_by)
        if self.shelved is not None:
            if self.shelved.offset == offset:
                flight.tries = self.shelved.tries
            self.shelved = None
        self.in_flight[offset] = flight
        return flight

    def is_current(self, flight: InFlight) -> bool:
        """Whether the result of the event counts. If a command has moved the cursor since, forget the event."""
        if flight.epoch == self.epoch:
            return True
        if self.in_flight.get(flight.offset) is flight:
            del self.in_flight[flight.offset]
        return False

    def settle(self, offset: int) -> None:
        """Settle the event in flight at *offset*."""
        del self.in_flight[offset]
        self.held.settle(offset)
        self.progress.settle(offset)

    def claimed(self, offset: int) -> None:
        """Record that a durable row has passed the event in flight at *offset*."""
        self.held.let_go(offset)
        self.progress.settle(offset)

    # --------------------------------------------------------------- to the log

    def empty_queue(self, beyond: int) -> None:
        """Leave the queued events to the log. Reading continues at the first of them, but not before the cursor."""
        self.in_log.read_from = max(self.progress.floor, self._first_queued(beyond))
        self.in_log.left(self.queue)
        self.queue.clear()

    def return_to_log(self, flight: InFlight) -> None:
        """Return an event to the log, to be read again. Its tries are kept."""
        self.remove(flight)
        self.keep(flight)
        if self.shelved is None or flight.offset < self.shelved.offset:
            self.shelved = flight.shelved()

    def remove(self, flight: InFlight) -> None:
        """Remove an event from the events in flight, because the cursor keeps it or it was given up."""
        del self.in_flight[flight.offset]

    def keep(self, flight: InFlight) -> None:
        """Leave an event that was in flight to the log. It will be read again, before all other events."""
        passes_others = bool(self.in_flight) or self.progress.settled_to > flight.offset
        self.in_log.returned(flight.event, passes_others=passes_others)

    def recall_tries(self, cause: Cause) -> None:
        """Restore the tries of the event at fault from the cause of the FAILURE, if the row did not contain them."""
        if cause.attempts is not None and cause.offset == self.in_log.read_from and self.shelved is None:
            tries = Tries(cause.attempts.count, cause.attempts.since)
            self.shelved = Shelved(self.in_log.read_from, tries, 0.0)

    def forget_tries(self, cause: Cause) -> None:
        """Forget the tries of the event at fault, because a FAILURE ends.

        If a probe is under way, it counts as the event's first attempt; otherwise the next attempt does.
        """
        probe = None if cause.offset is None else self.in_flight.get(cause.offset)
        if probe is not None:
            probe.tries = probe.tries.anew()
        if self.shelved is not None and self.shelved.offset == cause.offset:
            self.shelved = None

    def end_wait(self) -> None:
        """Make the next event due at once, if it waits in the log. Its tries are kept."""
        if self.shelved is not None:
            self.shelved = self.shelved._replace(not_before=0.0)

    # --------------------------------------------------------------- commands: the queue is empty

    def move(self, offset: int) -> None:
        """Continue from *offset*, before or after the cursor; events in flight no longer count.

        But claimed events before *offset* stay in flight: the cursor has passed them, and some may not have been sent
        yet.
        """
        passed = [flight for flight in self.in_flight.values() if flight.claimed and flight.offset < offset]
        self._forget_flights()
        for flight in passed:
            flight.epoch = self.epoch
            self.in_flight[flight.offset] = flight
        self.in_log.forget(self._home.dispatched_to)
        self._go_on_from(offset)

    def skip(self, offset: int) -> None:
        """Skip the event at *offset*, which is the next one; other events stay in flight."""
        skipped = self.in_flight.pop(offset, None)
        if skipped is not None:
            skipped.epoch = OVERTAKEN
        else:
            self.in_log.skipped(offset, self._home.dispatched_to)
        if self.shelved is not None and self.shelved.offset == offset:
            self.shelved = None
        self._go_on_from(max(self.in_log.read_from, offset + 1))

    def _go_on_from(self, offset: int) -> None:
        self.in_log.read_from = offset
        self.progress.go_on_from(min([offset, *self.unclaimed()]))

    def skip_to(self, offset: int) -> None:
        """Continue reading at *offset*, where the log begins now."""
        self.in_log.read_from = max(self.in_log.read_from, offset)
        self.in_log.forget(self._home.dispatched_to)

    # --------------------------------------------------------------- the beginning and the end

    def restore(self, row: Cursor, position: int) -> None:
        """Restore the state in a row; the partition was opened at *position*."""
        self.progress.restore(row)
        self.in_log.read_from = row.next
        self.in_log.forget(position, row.event_ms)
        if row.attempt:
            tries = Tries(row.attempt, row.first_attempt_at, error=row.error)
            self.shelved = Shelved(row.next, tries, row.not_before)

    def abandon(self) -> int:
        """Forget all events. Returns how many were in memory. Results of those in flight no longer count (`epoch`)."""
        given_up = len(self.queue) + len(self.in_flight)
        self._forget_flights()
        self.queue.clear()
        self.held.release()
        self.progress.abandon(self._home.dispatched_to)
        self.in_log.forget(self._home.dispatched_to)
        return given_up

    def _forget_flights(self) -> None:
        self.epoch += 1
        self.in_flight.clear()
        self.shelved = None

    def close(self) -> None:
        """End with the partition: results no longer count. Events in flight stay here, to be counted."""
        self.epoch += 1
        self.queue.clear()
