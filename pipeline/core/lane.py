"""A lane: the queue of one subscription in one partition, and its states (architecture section 3).

    live ──queue over its bound, or an event held too long──▶ behind     the cursor row first, then the window lets go
    live, behind ──FAILURE, or somebody's wish──▶ stopped                likewise, with the cause
    stopped ──resume, skip, replay, an edit──▶ behind                    the cursor moves; that is all
    behind ──its reading place has reached the stream's place──▶ live    one comparison on one event loop

Where an event of a lane can be, in the order of offsets:

    flights (being sent, or waiting for another try)  ≤  queue  ≤  the log from `read_from` on (behind, stopped)
                                                                   or what the stream brings next (live)

`next`, the cursor, is the first of them. An event that came from the stream stands in the partition's window until it
is settled or the row that covers it is durable; `_windowed` knows which. No Faust, no Kafka, no HTTP in here.
"""

import asyncio
from collections import deque
from dataclasses import replace

from pipeline.core.delivery import Delivery
from pipeline.core.errors import FencedError
from pipeline.core.in_flight import OVERTAKEN, Flight, Progress
from pipeline.core.keys import decode_key
from pipeline.core.model import Cause, Cursor, Event, Interrupt, Qos, RetryPolicy, Status, Subscription
from pipeline.core.policy import CauseKind, Rules
from pipeline.core.ports import Home, LaneLimits, LaneState, size_of
from pipeline.core.sleepers import Sleepers
from pipeline.core.unread import Unread
from pipeline.core.waiting import oldest_ms

UNKNOWN_RULES = Rules(Qos.AT_LEAST_ONCE, RetryPolicy(), Interrupt(), has_dead_letters=True)
"""For a key that names no subscription: its events are given up in order, never sent."""


class Lane:
    """One subscription's place in one partition.

    Args:
        key: the record key, the id in UTF-8; any other bytes for events that name no subscription.
        home: its partition.
        deliver: takes an event all the way.
        limits: its bounds.
        start: the offset before which nothing of it is unsettled.
    """

    def __init__(self, key: bytes, home: Home, deliver: Delivery, limits: LaneLimits, start: int) -> None:
        self.key = key
        self.name = decode_key(key)
        self.subscription: Subscription | None = None
        self.rules = UNKNOWN_RULES
        self.state: LaneState = "live"
        self.status = Status.STARTED
        self.cause: Cause | None = None
        self.suspect = False
        self.epoch = 0
        self.revision = -1
        self.row: Cursor | None = None
        self.settled_to = 0
        self.queue: deque[Event] = deque()
        self.queued_bytes = 0
        self.flights: dict[int, Flight] = {}
        self.read_from = start
        self.unread = Unread(start)
        self.retry: Progress | None = None
        self.taken_back: set[int] = set()  # claimed, and not sent: no row before them is known to be durable yet
        self._home = home
        self._deliver = deliver
        self._limits = limits
        self._floor = start
        self._windowed: dict[int, None] = {}  # in the order of offsets
        self._released = True
        self._awaited: asyncio.Future[None] | None = None
        self._runners = 0
        self._concurrency = 1
        self._settled_at_receipt = False
        self._sleepers = Sleepers()
        self._due: asyncio.TimerHandle | None = None

    # --------------------------------------------------------------- where it stands

    @property
    def next(self) -> int:
        """The first offset that is not settled. At-most-once: an event that is claimed counts as settled."""
        waiting = [offset for offset, flight in self.flights.items() if not flight.claimed]
        return max(self._floor, min([self._next_outside(), *waiting]))

    def _next_outside(self) -> int:
        if self.queue:
            return self.queue[0].offset
        return self._home.dispatched if self.state == "live" else self.read_from

    @property
    def is_idle(self) -> bool:
        """Nothing queued, nothing under way, nothing that the window waits for."""
        return self.state == "live" and not (self.queue or self.flights or self._windowed or self._runners)

    @property
    def windowed(self) -> int:
        """How many offsets the window holds for this lane."""
        return len(self._windowed)

    def first_windowed(self) -> int | None:
        """The lowest of them."""
        return next(iter(self._windowed), None)

    def cursor(self) -> Cursor:
        """The row as it has to be written now. Within a revision `next` never goes back (invariant I5)."""
        place = self.next
        tries = self._tries(place)
        row = Cursor(place, self.status, self.cause, revision=self.revision, event_ms=oldest_ms(self))
        if tries is None:
            return row
        return replace(
            row,
            attempt=tries.attempt,
            first_attempt_at=tries.first_attempt_at,
            not_before=tries.not_before,
            error=tries.error,
        )

    def wrote(self, row: Cursor) -> None:
        """The row is on its way: from now on the cursor is never before it."""
        self.row = row
        self._floor = row.next

    @property
    def is_trying(self) -> bool:
        """Its first event has been tried without success: the row has to tell how often."""
        return self.retry is not None or any(
            flight.attempt > 1 or flight.not_before for flight in self.flights.values()
        )

    @property
    def is_released(self) -> bool:
        """No row has to land before the window lets go of what the lane has left to the log."""
        return self._released

    @property
    def is_in_window(self) -> bool:
        """Live, and the window holds all that is unsettled: the row says no more than the committed offset will."""
        if self.state != "live":
            return False
        place = self.next
        return place in self._windowed or place >= self._home.dispatched

    def _tries(self, place: int) -> Progress | Flight | None:
        flight = self.flights.get(place)
        if flight is not None and not flight.claimed:
            return flight
        return self.retry if self.retry is not None and self.retry.offset == place else None

    # --------------------------------------------------------------- events come

    def offer(self, event: Event) -> None:
        """An event from the stream."""
        offset = event.offset
        if self.state != "live":
            # The durable cursor is at or before it, so it is settled at sight; a row still under way has to land first.
            if not self._released:
                self._hold(offset)
            self.unread.came(event, self.read_from)
            return
        if offset < self._floor:
            return
        if self._settled_at_receipt:
            if self._is_full:
                self._deliver.telemetry.dropped(
                    "lane-full", subscription=self.name, partition=event.partition, offset=offset
                )
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
        self._home.account(size)

    @property
    def wants_to_read(self) -> bool:
        """Behind, due, and with at least half of its queue free."""
        return (
            self.state == "behind"
            and self._due is None
            and 2 * len(self.queue) <= self._limits.events
            and 2 * self.queued_bytes <= self._limits.bytes
            and not self._is_rationed
            and not self._home.is_draining
        )

    @property
    def _is_rationed(self) -> bool:
        """One event at a time while the worker is full: so what hung receivers have queued can't stop the others."""
        return bool(self.queue) and self._home.is_crowded

    def feed(self, events: list[Event], end: int) -> None:
        """The lane's events of a stretch of the log that reaches from `read_from`, or before it, to *end*."""
        for event in events:
            # Auto: of several in flight, one was put back and is read again; the others are still under way.
            if event.offset < self.read_from or event.offset in self.flights:
                continue
            if self._is_full or self._is_rationed:
                self.read_from = event.offset
                break
            self._enqueue(event)
            self.unread.was_read(event)
        else:
            self.read_from = max(self.read_from, end)
        self._start_runners()
        self.join_stream()

    def join_stream(self) -> None:
        """Go live if everything before the stream's place has been read."""
        caught_up = self._released and self.read_from >= self._home.dispatched
        if caught_up and self.wants_to_read:
            self._floor = max(self._floor, self.next)
            self.state = "live"
            self.unread.forget(self.read_from)
            self._home.note(self)

    # --------------------------------------------------------------- events go

    def _start_runners(self) -> None:
        for _ in range(min(self._concurrency - self._runners, len(self.queue))):
            self._start_runner()

    def _start_runner(self) -> None:
        self._runners += 1
        self._home.spawn(self._run, self)

    async def _run(self) -> None:
        try:
            while (flight := self._take()) is not None:
                await self._carry(flight)
        finally:
            self._runners -= 1

    async def _carry(self, flight: Flight) -> None:
        try:
            await self._deliver(self, flight)
        except FencedError:
            raise
        except Exception as error:
            # A fault of ours: the partition logs it; the event must not stay in flight for ever.
            if self.flights.get(flight.offset) is flight:
                self.fail(flight, "exception", f"internal error: {type(error).__name__}", has_arrived=True)
            raise

    def _take(self) -> Flight | None:
        if not self.queue or self.state == "stopped" or self._home.is_draining or self._runners > self._concurrency:
            return None
        event = self.queue.popleft()
        size = size_of(event)
        self.queued_bytes -= size
        self._home.account(-size)
        offset = event.offset
        flight = Flight(event, offset, self.epoch)
        retry = self.retry
        if retry is not None:
            self.retry = None
            if retry.offset == offset:
                flight.attempt, flight.first_attempt_at = retry.attempt, retry.first_attempt_at
                flight.error = retry.error
        self.flights[offset] = flight
        if self.state == "behind":
            self._read_on()
        return flight

    def _read_on(self) -> None:
        self.join_stream()
        if self.wants_to_read:
            self._home.wants_events(self)

    def settle(self, flight: Flight) -> None:
        """The event is done."""
        offset = flight.offset
        del self.flights[offset]
        self._let_go(offset)
        if offset >= self.settled_to:
            self.settled_to = offset + 1
        if self.row is not None:
            self._home.note(self)

    def _let_go(self, offset: int) -> None:
        if offset in self._windowed:
            del self._windowed[offset]
            self._home.let_go(offset)

    def forget(self, flight: Flight) -> None:
        """A command has moved the cursor while the event was under way: whatever became of it counts no more."""
        if self.flights.get(flight.offset) is flight:
            del self.flights[flight.offset]

    async def claim(self, flight: Flight) -> None:
        """At-most-once: move the durable cursor past the event, before it is sent (invariant I3)."""
        flight.claimed = True
        try:
            await self._home.write(self)
        except (asyncio.CancelledError, FencedError):
            # The partition is given back and the row is not in sight. Nothing was sent, so nothing need be lost.
            if self.flights.get(flight.offset) is flight:
                self._unclaim(flight)
            raise
        self._let_go(flight.offset)
        self.settled_to = max(self.settled_to, flight.offset + 1)
        self.taken_back.discard(flight.offset)

    def _unclaim(self, flight: Flight) -> None:
        """It provably was not sent, so the cursor may step back to it: the one step back within a revision."""
        flight.claimed = False
        self._floor = flight.offset

    def _take_back(self, flight: Flight) -> None:
        """The same of a claim that is durable: until a row before it is, whoever comes next passes the event over."""
        self._unclaim(flight)
        self.taken_back.add(flight.offset)
        self._home.note(self)

    def row_is_durable(self, row: Cursor) -> None:
        """The broker has confirmed it: what it does not pass is not lost."""
        self.taken_back = {offset for offset in self.taken_back if offset < row.next}

    async def wait(self, flight: Flight, seconds: float) -> bool:
        """Keep the event for another try after *seconds*; whether that try is to be made by the same runner."""
        if flight.claimed:
            self._take_back(flight)
        if seconds > 0:
            flight.not_before = self._deliver.clock.now() + seconds
            self._home.note(self)
            if not self._home.is_draining and self.state != "stopped":
                if self._concurrency == 1 and seconds >= self._limits.hold_seconds:
                    self._shelve(flight)
                    return False
                await self._sleepers.sleep(seconds)
        return self.goes_on(flight)

    async def pause(self, flight: Flight, seconds: float) -> bool:
        """Keep the event until it is its turn, in *seconds*; whether the same runner then goes on with it.

        Nothing has been tried, so no row has to tell of it.
        """
        if self.goes_on(flight):
            if self._concurrency == 1 and seconds >= self._limits.hold_seconds:
                flight.not_before = self._deliver.clock.now() + seconds
                self._shelve(flight)
                return False
            await self._sleepers.sleep(seconds)
            return self.goes_on(flight)
        return False

    def goes_on(self, flight: Flight) -> bool:
        """Whether the event may still be sent, after a wait of any kind. It is put back where the lane was stopped."""
        if flight.epoch != self.epoch:
            self.forget(flight)
            return False
        if self._home.is_draining:
            # The flight stays where it is: its row then tells how often it was tried, and when it is due.
            return False
        flight.not_before = 0.0
        if self.state == "stopped":
            self._put_back(flight)
            return False
        if self._runners > self._concurrency and min(self.flights) < flight.offset:
            # Fewer at a time since an edit, and an ordered level has to end with the earlier ones first.
            self._step_back(flight)
            return False
        return True

    def _step_back(self, flight: Flight) -> None:
        self._leave_stream()
        self.state = "behind"
        self._put_back(flight)
        self._write_row()

    def _put_back(self, flight: Flight) -> None:
        """The event leaves memory and will be read again."""
        del self.flights[flight.offset]
        self._keep(flight)
        if self.retry is None or flight.offset < self.retry.offset:
            self.retry = flight.progress()

    def _keep(self, flight: Flight) -> None:
        """The event will be read again, before all that the lane was to read."""
        passes_others = bool(self.flights) or self.settled_to > flight.offset
        self.unread.stepped_back(flight.event, self.read_from, passes_others=passes_others)
        self.read_from = min(self.read_from, flight.offset)

    def _shelve(self, flight: Flight) -> None:
        """A long wait: it costs a row and a timer, no memory and no held offset."""
        self._wait_until(flight.not_before)
        self._step_back(flight)

    def _wait_until(self, moment: float) -> None:
        seconds = moment - self._deliver.clock.now()
        if seconds > 0:
            self._due = asyncio.get_running_loop().call_later(seconds, self._is_due)

    def _is_due(self) -> None:
        self._cancel_wait()
        if self.state == "behind":
            self._read_on()

    def _cancel_wait(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    async def regain(self, flight: Flight) -> bool:
        """Keep the event, which was not sent, until the lease is held; whether the same runner then goes on with it."""
        if flight.claimed and flight.epoch == self.epoch:
            self._take_back(flight)
        while flight.epoch == self.epoch and self.state != "stopped" and not self._is_without_use:
            await self._sleepers.sleep_without(self._deliver.lease)
        return self.goes_on(flight)

    async def awaits_lease(self, flight: Flight) -> bool:
        """Keep the event, which is to be dead-lettered, until the lease is held; False if it never is."""
        while flight.epoch == self.epoch and not self._is_without_use:
            await self._sleepers.sleep_without(self._deliver.lease)
        if flight.epoch != self.epoch:
            self.forget(flight)
            return False
        return self._deliver.lease.is_held

    @property
    def _is_without_use(self) -> bool:
        """Nothing is to be gained from waiting for the lease: it is held, or the partition is given back."""
        return self._home.is_draining or self._deliver.lease.is_held

    def wake(self) -> None:
        """End the waits between tries: something has changed."""
        self._sleepers.wake()

    # --------------------------------------------------------------- it leaves the stream

    def go_behind(self) -> None:
        """Stop holding events: what is queued will be read from the log again."""
        if self.state == "live":
            self._leave_stream()
            self.state = "behind"
            self._write_row()

    def fail(self, flight: Flight, kind: CauseKind, message: str, *, has_arrived: bool) -> None:
        """FAILURE: the subscription stops, and the event is kept.

        Args:
            flight: the event at fault.
            kind: what kind of thing went wrong.
            message: a sentence, without secrets.
            has_arrived: the receiver may have seen the event. At-most-once then can't send it again: the cursor has
                passed it already.
        """
        now = self._deliver.clock.now()
        del self.flights[flight.offset]
        if flight.claimed and has_arrived:
            telemetry = self._deliver.telemetry
            telemetry.settled("dropped")
            telemetry.dropped(
                "given-up", subscription=self.name, partition=flight.event.partition, offset=flight.offset
            )
        elif flight.claimed:
            self._take_back(flight)
        kept = None if flight.claimed else flight
        self._stop(Status.FAILURE, Cause(kind, message, flight.offset, now, flight.attempts()), kept)
        if self.subscription is not None and self.cause is not None:
            self._deliver.telemetry.subscription_failed(self.subscription, flight.event.partition, self.cause)

    def stop(self, status: Status, cause: Cause | None = None) -> None:
        """Somebody wishes no deliveries; what is being sent may still arrive."""
        if self.state != "stopped" or self.status is not status:
            self._stop(status, cause, None)

    def _stop(self, status: Status, cause: Cause | None, kept: Flight | None) -> None:
        self._leave_stream()
        if kept is not None:
            self._keep(kept)
        self.state, self.status, self.cause = "stopped", status, cause
        self.retry = None
        self._cancel_wait()
        self.wake()
        self._write_row()

    def _leave_stream(self) -> None:
        """The queue is given up; reading will begin where it began, and never before the cursor."""
        self.read_from = max(self._floor, self._next_outside())
        self.unread.left(self.queue, self.read_from)
        self._clear_queue()
        if self.state == "live":
            self._released = False

    def _clear_queue(self) -> None:
        self.queue.clear()
        self._home.account(-self.queued_bytes)
        self.queued_bytes = 0

    def _write_row(self) -> None:
        self._awaited = row = self._home.write(self)
        row.add_done_callback(self._row_landed)

    def _row_landed(self, row: "asyncio.Future[None]") -> None:
        # An older row than the last one may have been deleted since.
        if row is not self._awaited or row.cancelled() or row.exception() is not None:
            return  # fenced or closed: whoever owns the partition next begins at the committed offset
        if not self._released:
            self._release()
        if self.state == "behind":
            self._read_on()

    def _release(self) -> None:
        for offset in self._windowed:
            self._home.let_go(offset)
        self._windowed.clear()
        self._released = True

    # --------------------------------------------------------------- wishes

    def configure(self, subscription: Subscription | None, rules: Rules) -> None:
        """Work by this revision from the next attempt on."""
        self.subscription = subscription
        self.rules = rules
        self._concurrency = 1 if subscription is None else max(1, subscription.concurrency)
        self._settled_at_receipt = rules.qos is Qos.NONE

    def resume(self) -> None:
        """Go on from the cursor, at once: FAILURE is cleared, waits are over."""
        self.cause, self.status = None, Status.STARTED
        self._cancel_wait()
        self.wake()
        if self.state == "stopped":
            self.state = "behind"
            self._home.note(self)
        if self.state == "behind":
            self._read_on()

    def move(self, place: int) -> None:
        """Go on from *place*, before or after the cursor; FAILURE is cleared, what is under way counts no more."""
        self._leave_stream()
        self.epoch += 1
        self.flights.clear()
        self.retry = None
        self.unread.forget(self._home.dispatched)
        self._go_on_from(place)

    def skip(self, offset: int) -> None:
        """Pass over the event at *offset*, which is the next one; FAILURE is cleared, what is under way goes on."""
        self._leave_stream()
        skipped = self.flights.pop(offset, None)
        if skipped is not None:
            skipped.epoch = OVERTAKEN
        else:
            self.unread.skipped(offset, self._home.dispatched)
        if self.retry is not None and self.retry.offset == offset:
            self.retry = None
        self._go_on_from(max(self.read_from, offset + 1))

    def _go_on_from(self, place: int) -> None:
        # In the same row as the place: a worker that finds the command noted must find FAILURE cleared as well.
        self.state, self.status, self.cause = "behind", Status.STARTED, None
        self.taken_back.clear()
        self.read_from = place
        self._floor = min([place, *(offset for offset, flight in self.flights.items() if not flight.claimed)])
        self._cancel_wait()
        self.wake()
        self._write_row()

    def skip_to(self, offset: int) -> None:
        """The log begins at *offset* now: there is nothing to be read before it."""
        self.read_from = max(self.read_from, offset)
        self.unread.forget(self._home.dispatched)
        self.join_stream()

    def abandon(self) -> int:
        """The subscription is deleted: nothing of it is owed to anybody. Returns how many events were in memory."""
        given_up = len(self.queue) + len(self.flights)
        self.epoch += 1
        self.flights.clear()
        self.taken_back.clear()
        self._clear_queue()
        self._release()
        self.state, self.status, self.cause, self.retry = "live", Status.STARTED, None, None
        self.revision = -1
        self._floor = self._home.dispatched
        self._cancel_wait()
        self.wake()
        return given_up

    def restore(self, row: Cursor, position: int) -> None:
        """Take up a row after the partition was opened at *position* (architecture section 4)."""
        self.row, self.revision = row, row.revision
        self.status, self.cause = row.status, row.cause
        self.read_from = self._floor = row.next
        self.unread.forget(position, row.event_ms)
        if row.attempt:
            self.retry = Progress(row.next, row.attempt, row.first_attempt_at, row.not_before, row.error)
        if row.status is not Status.STARTED:
            self.state = "stopped"
        elif row.next < position or row.attempt:
            self.state = "behind"
            self._wait_until(row.not_before)
            self._read_on()

    def close(self) -> None:
        """The partition is closed: nothing that is still under way counts."""
        self.epoch += 1
        self._cancel_wait()
        self.wake()
        self._clear_queue()
