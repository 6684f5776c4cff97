"""A lane: the queue of one subscription in one partition. Its states are in lane_state.py.

Where an event of a lane can be, in the order of offsets:

    in flight (being sent, or waiting for another try)  ≤  queue  ≤  the log from `read_from` on (behind, halted)
                                                                     or what the stream brings next (live)

`next`, the cursor, is the first of them. An event that came from the stream stands in the partition's window until it
is settled or the row that covers it is durable; `_windowed` knows which. Runners (runner.py) take events and say what
became of them.
"""

import asyncio
from collections import deque

from pipeline.core.errors import FencedError
from pipeline.core.in_flight import OVERTAKEN, InFlight, Shelved, Tries
from pipeline.core.keys import decode_key
from pipeline.core.lane_state import HALTED, TRANSITIONS, LaneState
from pipeline.core.model import Cause, Cursor, Event, Status
from pipeline.core.policy import CauseKind, Rules
from pipeline.core.ports import Home, LaneServices, RowWriter, size_of
from pipeline.core.progress import Progress
from pipeline.core.subscription import Interrupt, Qos, RetryPolicy, Subscription
from pipeline.core.unread import Unread
from pipeline.core.waiting import Waiting, oldest_ms
from pipeline.core.waits import Waits

UNKNOWN_RULES = Rules(Qos.AT_LEAST_ONCE, RetryPolicy(), Interrupt(), has_dead_letters=True)
"""For a key that names no subscription: its events are given up in order, never sent."""


class Lane:
    """One subscription's place in one partition.

    Args:
        key: the record key, the id in UTF-8; any other bytes for events that name no subscription.
        home: its partition.
        rows: writes its cursor row.
        services: what all lanes of the worker share.
        start: the offset before which nothing of it is unsettled.

    Attributes:
        is_suspect: its last attempt timed out, so the next one waits for a slot behind those of other lanes.
        epoch: grows when a command moves the cursor; what is under way from before counts no more.
        read_from: where the log is read next; no meaning while live.
        shelved: the tries of the next event, which is not in memory.
    """

    def __init__(self, key: bytes, home: Home, rows: RowWriter, services: LaneServices, start: int) -> None:
        self.key = key
        self.name = decode_key(key)
        self.subscription: Subscription | None = None
        self.rules = UNKNOWN_RULES
        self.state = LaneState.LIVE
        self.cause: Cause | None = None
        self.is_suspect = False
        self.epoch = 0
        self.progress = Progress(start)
        self.queue: deque[Event] = deque()
        self.queued_bytes = 0
        self.in_flight: dict[int, InFlight] = {}
        self.read_from = start
        self.unread = Unread(start)
        self.shelved: Shelved | None = None
        self.waits = Waits()
        self._home = home
        self._rows = rows
        self._services = services
        self._limits = services.limits
        self._windowed: dict[int, None] = {}  # in the order of offsets
        self._released = True
        self._awaited: asyncio.Future[None] | None = None
        self._runners = 0
        self._concurrency = 1
        self._settled_at_receipt = False

    def __repr__(self) -> str:
        """As `<Lane sub-1 behind next=40 queued=2 in_flight=[40]>`."""
        state = self.state.name.lower()
        return f"<Lane {self.name} {state} next={self.next} queued={len(self.queue)} in_flight={[*self.in_flight]}>"

    def _enter(self, state: LaneState, cause: Cause | None = None) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"a lane can't go from {self.state.name} to {state.name}")
        self.state, self.cause = state, cause

    # --------------------------------------------------------------- where it stands

    @property
    def status(self) -> Status:
        """Of the subscription in this partition."""
        return self.state.status

    @property
    def next(self) -> int:
        """The first offset that is not settled. At-most-once: an event that is claimed counts as settled."""
        waiting = [offset for offset, flight in self.in_flight.items() if not flight.claimed]
        return max(self.progress.floor, min([self._next_outside(), *waiting]))

    def _next_outside(self) -> int:
        if self.queue:
            return self.queue[0].offset
        return self._home.dispatched if self.state is LaneState.LIVE else self.read_from

    @property
    def is_idle(self) -> bool:
        """Nothing queued, nothing under way, nothing that the window waits for."""
        is_empty = not (self.queue or self.in_flight or self._windowed or self._runners)
        return is_empty and self.state is LaneState.LIVE

    @property
    def windowed(self) -> int:
        """How many offsets the window holds for this lane."""
        return len(self._windowed)

    def first_windowed(self) -> int | None:
        """The lowest of them."""
        return next(iter(self._windowed), None)

    def waiting(self) -> Waiting:
        """How many events wait."""
        in_memory = len(self.in_flight) + len(self.queue)
        if self.state is LaneState.LIVE:
            return Waiting(in_memory, is_exact=True)
        return Waiting(in_memory + self.unread.at_most(self.read_from), self.unread.is_exact(self.read_from))

    def oldest_ms(self) -> int | None:
        """The time stamp of the first event that waits, in milliseconds; None where none does, or it is not known.

        While that event is still to be read: the time stamp of the one before it, if that is known.
        """
        stamps: list[int | None] = [each.event.timestamp for each in self.in_flight.values() if not each.claimed]
        if self.queue:
            stamps.append(self.queue[0].timestamp)
        if self.state is not LaneState.LIVE and self.unread.at_most(self.read_from):
            stamps.append(self.unread.first_ms)
        return oldest_ms(stamps)

    @property
    def is_released(self) -> bool:
        """No row has to land before the window lets go of what the lane has left to the log."""
        return self._released

    @property
    def is_in_window(self) -> bool:
        """Live, and the window holds all that is unsettled: the row says no more than the committed offset will."""
        if self.state is not LaneState.LIVE:
            return False
        place = self.next
        return place in self._windowed or place >= self._home.dispatched

    @property
    def is_draining(self) -> bool:
        """The partition is being given back."""
        return self._home.is_draining

    @property
    def is_delivering(self) -> bool:
        """Attempts may begin."""
        return not (self.state.is_halted or self._home.is_draining)

    # --------------------------------------------------------------- events come

    def offer(self, event: Event) -> None:
        """An event from the stream."""
        offset = event.offset
        if self.state is not LaneState.LIVE:
            # The durable cursor is at or before it, so it is settled; but a row still under way has to land first.
            if not self._released:
                self._hold(offset)
            self.unread.came(event, self.read_from)
            return
        if offset < self.progress.floor:
            return
        if self._settled_at_receipt:
            if self._is_full:
                self._services.telemetry.dropped(
                    "lane-full", subscription=self.name, partition=event.partition, offset=offset
                )
                # It is still in the log: a lane that leaves the stream later reads it there, and nobody counted it.
                self.unread.forget(offset + 1)
                return
        else:
            self._hold(offset)
        self._enqueue(event)
        if not self._settled_at_receipt and self._is_over_its_bound:
            self.go_behind()
        elif self._runners < self._concurrency:
            self._start_runner()

    @property
    def _is_full(self) -> bool:
        return len(self.queue) >= self._limits.events or self.queued_bytes >= self._limits.bytes

    @property
    def _is_over_its_bound(self) -> bool:
        return len(self.queue) > self._limits.events or self.queued_bytes > self._limits.bytes

    def _hold(self, offset: int) -> None:
        self._home.hand_out(offset)
        self._windowed[offset] = None

    def _enqueue(self, event: Event) -> None:
        self.queue.append(event)
        size = size_of(event)
        self.queued_bytes += size
        self._services.account(size)

    @property
    def wants_to_read(self) -> bool:
        """Behind, due, and with at least half of its queue free."""
        return (
            self.state is LaneState.BEHIND
            and not self.waits.is_timed
            and 2 * len(self.queue) <= self._limits.events
            and 2 * self.queued_bytes <= self._limits.bytes
            and not self._is_rationed
            and not self._home.is_draining
        )

    @property
    def _is_rationed(self) -> bool:
        """One event at a time while the worker is full: so what hung receivers have queued can't stop the others."""
        return bool(self.queue) and self._services.is_crowded

    def feed(self, events: list[Event], end: int) -> None:
        """The lane's events of a stretch of the log that reaches from `read_from`, or before it, to *end*."""
        for event in events:
            # Auto: of several in flight, one was put back and is read again; the others are still under way.
            if event.offset < self.read_from or event.offset in self.in_flight:
                continue
            if self._is_full or self._is_rationed:
                self.read_from = event.offset
                break
            self._enqueue(event)
            self.unread.was_read(event)
        else:
            self.read_from = max(self.read_from, end)
        for _ in range(min(self._concurrency - self._runners, len(self.queue))):
            self._start_runner()
        self.join_stream()

    def join_stream(self) -> None:
        """Go live if everything before the stream's place has been read."""
        caught_up = self._released and self.read_from >= self._home.dispatched
        if caught_up and self.wants_to_read:
            self.progress.floor = max(self.progress.floor, self.next)
            self._enter(LaneState.LIVE)
            self.unread.forget(self.read_from)
            self._rows.note(self.key)

    # --------------------------------------------------------------- runners take them

    def _start_runner(self) -> None:
        self._runners += 1
        self._home.start_runner(self.key)

    def runner_ended(self) -> None:
        """One fewer is at work."""
        self._runners -= 1

    def take(self) -> InFlight | None:
        """The next event, for a runner; None where there is none, or it must not be sent now."""
        if not self.queue or not self.is_delivering or self._runners > self._concurrency:
            return None
        event = self.queue.popleft()
        size = size_of(event)
        self.queued_bytes -= size
        self._services.account(-size)
        offset = event.offset
        flight = InFlight(event, offset, self.epoch)
        if self.shelved is not None:
            if self.shelved.offset == offset:
                flight.tries = self.shelved.tries
            self.shelved = None
        self.in_flight[offset] = flight
        if self.state is LaneState.BEHIND:
            self._read_on()
        return flight

    def _read_on(self) -> None:
        self.join_stream()
        if self.wants_to_read:
            self._home.wants_events(self.key)

    def is_current(self, flight: InFlight) -> bool:
        """Whether what becomes of the event counts. If a command has moved the cursor since, it is forgotten."""
        if flight.epoch == self.epoch:
            return True
        if self.in_flight.get(flight.offset) is flight:
            del self.in_flight[flight.offset]
        return False

    def may_go_on(self, flight: InFlight) -> bool:
        """Whether the event may still be sent, after a wait of any kind. It is put back where the lane was stopped."""
        if not self.is_current(flight):
            return False
        if self._home.is_draining:
            # It stays in flight: its row then tells how often it was tried, and when it is due.
            return False
        flight.not_before = 0.0
        if self.state.is_halted:
            self._put_back(flight)
            return False
        if self._runners > self._concurrency and min(self.in_flight) < flight.offset:
            # Fewer at a time since an edit, and an ordered level has to end with the earlier ones first.
            self._step_back(flight)
            return False
        return True

    def settle(self, flight: InFlight) -> None:
        """The event is done."""
        offset = flight.offset
        del self.in_flight[offset]
        self._let_go(offset)
        self.progress.settle(offset)
        if self.progress.row is not None:
            self._rows.note(self.key)

    def _let_go(self, offset: int) -> None:
        if offset in self._windowed:
            del self._windowed[offset]
            self._home.let_go(offset)

    async def claim(self, flight: InFlight) -> None:
        """At-most-once: move the durable cursor past the event, before it is sent (invariant I3)."""
        flight.claimed = True
        try:
            await self._rows.write(self.key)
        except (asyncio.CancelledError, FencedError):
            # The partition is given back and the row is not in sight. Nothing was sent, so nothing need be lost.
            if self.in_flight.get(flight.offset) is flight:
                flight.claimed = False
                self.progress.unclaim(flight.offset)
            raise
        self._let_go(flight.offset)
        self.progress.claim(flight.offset)

    def hand_back_claim(self, flight: InFlight) -> None:
        """The event was claimed and provably not sent: the cursor steps back to it."""
        if flight.claimed and flight.epoch == self.epoch:
            flight.claimed = False
            self.progress.take_back(flight.offset)
            self._rows.note(self.key)

    def back_off(self, flight: InFlight, seconds: float) -> None:
        """The event is to be tried again, in *seconds*."""
        self.hand_back_claim(flight)
        if seconds > 0:
            flight.not_before = self._services.clock.now() + seconds
            self._rows.note(self.key)

    def shelves(self, seconds: float) -> bool:
        """Whether a wait of *seconds* is spent outside of memory."""
        return self._concurrency == 1 and seconds >= self._limits.hold_seconds

    def shelve(self, flight: InFlight, seconds: float) -> None:
        """Wait *seconds* at the cost of a row and a timer: no memory, no held offset."""
        flight.not_before = self._services.clock.now() + seconds
        self._wait_until(flight.not_before)
        self._step_back(flight)

    def _step_back(self, flight: InFlight) -> None:
        self._leave_stream()
        self._enter(LaneState.BEHIND)
        self._put_back(flight)
        self._write_row()

    def _put_back(self, flight: InFlight) -> None:
        """The event leaves memory and will be read again."""
        del self.in_flight[flight.offset]
        self._keep(flight)
        if self.shelved is None or flight.offset < self.shelved.offset:
            self.shelved = flight.shelved()

    def _keep(self, flight: InFlight) -> None:
        """The event will be read again, before all that the lane was to read."""
        passes_others = bool(self.in_flight) or self.progress.settled_to > flight.offset
        self.unread.stepped_back(flight.event, self.read_from, passes_others=passes_others)
        self.read_from = min(self.read_from, flight.offset)

    def _wait_until(self, moment: float) -> None:
        seconds = moment - self._services.clock.now()
        if seconds > 0:
            self.waits.set_timer(seconds, self._is_due)

    def _is_due(self) -> None:
        self.waits.end_timer()
        if self.state is LaneState.BEHIND:
            self._read_on()

    # --------------------------------------------------------------- it leaves the stream

    def go_behind(self) -> None:
        """Stop holding events: what is queued will be read from the log again."""
        if self.state is LaneState.LIVE:
            self._leave_stream()
            self._enter(LaneState.BEHIND)
            self._write_row()

    def fail(self, flight: InFlight, kind: CauseKind, message: str, *, has_arrived: bool) -> None:
        """FAILURE: the subscription stops, and the event is kept.

        Args:
            flight: the event at fault.
            kind: what kind of thing went wrong.
            message: a sentence, without secrets.
            has_arrived: the receiver may have seen the event. At-most-once then can't send it again: the cursor has
                passed it already.
        """
        observer, partition = self._services.telemetry, flight.event.partition
        del self.in_flight[flight.offset]
        if flight.claimed and has_arrived:
            observer.settled("dropped")
            observer.dropped("given-up", subscription=self.name, partition=partition, offset=flight.offset)
        else:
            self.hand_back_claim(flight)
        cause = Cause(kind, message, flight.offset, self._services.clock.now(), flight.tries.summary())
        self._halt(LaneState.FAILED, cause, None if flight.claimed else flight)
        if self.subscription is not None:
            observer.subscription_failed(self.subscription, partition, cause)

    def stop(self, status: Status, cause: Cause | None = None) -> None:
        """No deliveries are wanted; what is being sent may still arrive."""
        if self.status is not status:
            self._halt(HALTED[status], cause, None)

    def _halt(self, state: LaneState, cause: Cause | None, kept: InFlight | None) -> None:
        self._leave_stream()
        if kept is not None:
            self._keep(kept)
        self._enter(state, cause)
        self.shelved = None
        self._end_waits()
        self._write_row()

    def _end_waits(self) -> None:
        self.waits.end_timer()
        self.waits.wake()

    def _leave_stream(self) -> None:
        """The queue is given up; reading will begin where it began, and never before the cursor."""
        self.read_from = max(self.progress.floor, self._next_outside())
        self.unread.left(self.queue, self.read_from)
        self._clear_queue()
        if self.state is LaneState.LIVE:
            self._released = False

    def _clear_queue(self) -> None:
        self.queue.clear()
        self._services.account(-self.queued_bytes)
        self.queued_bytes = 0

    def _write_row(self) -> None:
        self._awaited = row = self._rows.write(self.key)
        row.add_done_callback(self._row_landed)

    def _row_landed(self, row: "asyncio.Future[None]") -> None:
        # An older row than the last one may have been deleted since.
        if row is not self._awaited or row.cancelled() or row.exception() is not None:
            return  # fenced or closed: the next owner begins at the committed offset
        if not self._released:
            self._release()
        if self.state is LaneState.BEHIND:
            self._read_on()

    def _release(self) -> None:
        for offset in self._windowed:
            self._home.let_go(offset)
        self._windowed.clear()
        self._released = True

    # --------------------------------------------------------------- what people ask for

    def configure(self, subscription: Subscription | None, rules: Rules) -> None:
        """Work by this revision from the next attempt on."""
        self.subscription = subscription
        self.rules = rules
        self._concurrency = 1 if subscription is None else max(1, subscription.concurrency)
        self._settled_at_receipt = rules.qos is Qos.NONE

    def resume(self) -> None:
        """Go on from the cursor, at once: FAILURE is cleared, waits are over."""
        self._end_waits()
        if self.state.is_halted:
            self._enter(LaneState.BEHIND)
            self._rows.note(self.key)
        if self.state is LaneState.BEHIND:
            self._read_on()

    def move(self, place: int) -> None:
        """Go on from *place*, before or after the cursor; FAILURE is cleared, what is under way counts no more."""
        self._leave_stream()
        self.epoch += 1
        self.in_flight.clear()
        self.shelved = None
        self.unread.forget(self._home.dispatched)
        self._go_on_from(place)

    def skip(self, offset: int) -> None:
        """Pass over the event at *offset*, which is the next one; FAILURE is cleared, what is under way goes on."""
        self._leave_stream()
        skipped = self.in_flight.pop(offset, None)
        if skipped is not None:
            skipped.epoch = OVERTAKEN
        else:
            self.unread.skipped(offset, self._home.dispatched)
        if self.shelved is not None and self.shelved.offset == offset:
            self.shelved = None
        self._go_on_from(max(self.read_from, offset + 1))

    def _go_on_from(self, place: int) -> None:
        # In the same row as the place: a worker that finds the command noted must find FAILURE cleared as well.
        self._enter(LaneState.BEHIND)
        self.progress.taken_back.clear()
        self.read_from = place
        unclaimed = [offset for offset, flight in self.in_flight.items() if not flight.claimed]
        self.progress.floor = min([place, *unclaimed])
        self._end_waits()
        self._write_row()

    def skip_to(self, offset: int) -> None:
        """The log begins at *offset* now: there is nothing to be read before it."""
        self.read_from = max(self.read_from, offset)
        self.unread.forget(self._home.dispatched)
        self.join_stream()

    def abandon(self) -> int:
        """The subscription is deleted: its events are owed to nobody. Returns how many were in memory."""
        given_up = len(self.queue) + len(self.in_flight)
        self.epoch += 1
        self.in_flight.clear()
        self._clear_queue()
        self._release()
        self.state, self.cause, self.shelved = LaneState.LIVE, None, None
        self.progress.taken_back.clear()
        self.progress.revision, self.progress.floor = -1, self._home.dispatched
        self.unread.forget(self._home.dispatched)
        self._end_waits()
        return given_up

    def restore(self, row: Cursor, position: int) -> None:
        """Take up a row after the partition was opened at *position* (docs/design.md, Lanes and cursors)."""
        self.progress.restore(row)
        self.read_from = row.next
        self.unread.forget(position, row.event_ms)
        if row.attempt:
            tries = Tries(row.attempt, row.first_attempt_at, error=row.error)
            self.shelved = Shelved(row.next, tries, row.not_before)
        if row.status is not Status.STARTED:
            self._enter(HALTED[row.status], row.cause)
        elif row.next < position or row.attempt:
            self._enter(LaneState.BEHIND)
            self._wait_until(row.not_before)
            self._read_on()

    def close(self) -> None:
        """The partition is closed: nothing that is still under way counts."""
        self.epoch += 1
        self._end_waits()
        self._clear_queue()
