"""One partition that this worker owns: its window, its lanes, its rows (docs/design.md, Lanes and cursors).

`Dispatcher` opens, feeds and closes it. Everything here runs on the worker's event loop, so nothing else runs between
two awaits. Therefore no event is missed or repeated when a lane switches between stream and log.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial

from pipeline.core.beginnings import Beginnings
from pipeline.core.clock import steady_now
from pipeline.core.errors import FencedError
from pipeline.core.keys import keys_among
from pipeline.core.lane import Lane
from pipeline.core.lane_rows import LaneRows
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cause, Event, Status
from pipeline.core.ports import Matching, PartitionServices, RowStore, Wanted
from pipeline.core.reconcile import Reconciler
from pipeline.core.runner import Runner
from pipeline.core.window import SharedWindow, Window

logger = logging.getLogger(__name__)

PRESSURE_EVENTS = 4_000
"""With more unsettled offsets than this, a partition takes no events until half of them are settled.

Without this limit, a large backlog would overflow every queue, and each lane would leave the stream and read the log
again.
"""
PRESSURE_DELIVERIES = 1_000
"""The same limit with `routing: match`, in deliveries. It is lower, because the rest of a batch is kept in memory."""
PATIENCE_SECONDS = 1.0
"""In a paused partition, a lane that lags far behind the others leaves the stream when it has held an event this
long."""
LAGGING_FACTOR = 3
"""A lane lags far behind if its lag is more than this many times the lag of the quicker lanes (the lower quartile)."""
FAIR_STRETCHES = 8
"""One stretch of the log in this many is read for the lane that has waited longest, so that a long replay blocks no
other lane. The others are read for the lane that is furthest behind."""


class Partition:
    """The lanes of one partition over one window.

    Args:
        position: where the stream begins: the committed offset, or the beginning of a new partition.
        store: the store of its cursor rows, which is opened before the partition, and closed after it.
        log: the bounds of its log.

    Attributes:
        opened_at: where the stream began.
        begun_to: the committed revision; subscriptions created before it have begun (beginnings.py).
    """

    def __init__(self, number: int, position: int, worker: PartitionServices, store: RowStore, log: LogBounds) -> None:
        self.topic = worker.topic
        self.number = number
        self.opened_at = position
        self.store = store
        self.name = f"partition {number} of {worker.topic}"
        self._matching = worker.matching
        self._pressure = PRESSURE_EVENTS if worker.matching is None else PRESSURE_DELIVERIES
        self.begun_to = log.begun_to
        self.window = Window(position, log.ahead) if self._matching is None else SharedWindow(position, log.ahead)
        self.beginnings = Beginnings(worker.topic, number, log.topic_id)
        self.lanes: dict[bytes, Lane] = {}
        self.committed: int | None = None
        self.is_draining = False
        self.is_paused = False
        self.progressed_at = steady_now()
        self._worker = worker
        self.rows = LaneRows(store, self.lanes, partial(worker.lost, self), position)
        self._runners: dict[asyncio.Task[None], Lane] = {}
        self._behind: dict[Lane, None] = {}  # the lane that has waited longest comes first
        self._stretches = 0
        self._kept_back: Sequence[Event] = ()  # the rest of a batch, for which the lanes had no room
        self.reconciler = Reconciler(self, worker)

    # --------------------------------------------------------------- the stream

    def dispatch(self, events: Sequence[Event]) -> None:
        """Dispatch a batch to its lanes, in order, without waiting."""
        if self.is_draining:
            return
        events = self._unseen(events)
        if self._kept_back:
            self._kept_back = [*self._kept_back, *events]
            return
        offered = self._offer_by_key(events) if self._matching is None else self._offer_by_match(events, self._matching)
        if not offered:
            return
        # This comes last: if a lane leaves the stream in the middle of a batch, it continues from the old
        # `dispatched_to`.
        self.progressed_at = steady_now()
        self.window.advance(offered[-1].offset + 1, steady_now())
        if not self.is_paused and self.window.load > self._pressure:
            self.is_paused = True
            self._worker.pause(self.number)

    def _unseen(self, events: Sequence[Event]) -> Sequence[Event]:
        """The *events* that this partition has not taken yet: the stream may fetch a batch a second time."""
        first = self._kept_back[-1].offset + 1 if self._kept_back else self.window.dispatched_to
        return events if events[0].offset >= first else [event for event in events if event.offset >= first]

    def _offer_by_key(self, events: Sequence[Event]) -> Sequence[Event]:
        """Offer all *events*, and return them."""
        lanes, noted_to = self.lanes, self.window.noted_to
        for event in events:
            key = event.key or b""
            lane = lanes.get(key)
            if lane is None:
                lane = self.reconciler.new_lane(key, event.offset)
            if event.offset < noted_to and self.window.is_noted(event.offset) and lane.trusts_notes:
                lane.pass_over(event.offset)
            else:
                lane.offer(event)
        return events

    def _offer_by_match(self, events: Sequence[Event], matching: Matching) -> Sequence[Event]:
        """Offer events until too many deliveries are unsettled. Returns the offered events."""
        lanes, noted_to, unmatched = self.lanes, self.window.noted_to, 0
        for index, event in enumerate(events):
            if self.window.load > PRESSURE_DELIVERIES:
                self._kept_back = events[index:]
                break
            keys = matching.keys(event)
            unmatched += not keys
            is_noted = event.offset < noted_to and self.window.is_noted(event.offset)
            for key in keys:
                lane = lanes.get(key)
                if lane is None:
                    lane = self.reconciler.new_lane(key, event.offset)
                if is_noted and lane.trusts_notes:
                    lane.pass_over(event.offset)
                else:
                    lane.offer(event)
        if unmatched:
            self._worker.observer.settled("unmatched", unmatched)
        return events[: len(events) - len(self._kept_back)]

    def pass_over(self, end: int) -> None:
        """Advance to *end*: the stream has no event before it."""
        if not self.is_draining:
            self.progressed_at = steady_now()
            self.window.advance(end, steady_now())

    @property
    def dispatched_to(self) -> int:
        """The offset after the last one that was dispatched."""
        return self.window.dispatched_to

    def settle(self, offset: int) -> None:
        """See `ports.Home`."""
        self.window.settle(offset)
        if self.is_paused:
            self._ease()

    def let_go(self, offset: int) -> None:
        """See `ports.Home`."""
        self.window.let_go(offset)
        if self.is_paused:
            self._ease()

    def _ease(self) -> None:
        if 2 * self.window.load > self._pressure:
            return
        if self._kept_back:
            asyncio.get_running_loop().call_soon(self._go_on)  # later, not in the middle of a lane's work
        else:
            self.is_paused = False
            self._worker.resume(self.number)

    def _go_on(self) -> None:
        """Offer as many of the kept events as the limit allows."""
        events, self._kept_back = self._kept_back, ()
        if events and not self.is_draining:
            self._worker.dispatch(self.number, events)
            self._ease()

    def start_runner(self, key: bytes) -> None:
        """See `ports.Home`."""
        lane = self.lanes[key]
        self.spawn(Runner(lane, self._worker.deliver).run, lane)

    def spawn(self, work: Callable[[], Coroutine[object, object, None]], lane: Lane) -> None:
        """Run a lane's work as a task of the partition."""
        task = asyncio.get_running_loop().create_task(self._guarded(work, lane))
        self._runners[task] = lane
        task.add_done_callback(self._runners.pop)

    @property
    def at_work(self) -> Iterable[Lane]:
        """The lanes that have a task."""
        return dict.fromkeys(self._runners.values())

    @property
    def runner_count(self) -> int:
        """The number of tasks; a lane may have several."""
        return len(self._runners)

    async def _guarded(self, work: Callable[[], Coroutine[object, object, None]], lane: Lane) -> None:
        try:
            await work()
        except FencedError:
            self._worker.lost(self)
        except Exception as error:  # a bug must be visible, but must not end the worker
            logger.exception("unexpected error in lane %r of %s", lane.name, self.name)
            message = f"internal error: {type(error).__name__}"
            lane.stop(Status.FAILURE, Cause("exception", message, lane.next, self._worker.clock.now()))

    # --------------------------------------------------------------- the log

    def wants_events(self, key: bytes) -> None:
        """See `ports.Home`."""
        self._behind[self.lanes[key]] = None
        self._worker.reader.wake(self)

    @property
    def is_streaming(self) -> bool:
        """See `ports.Behind`."""
        return self._worker.is_streaming

    def wanted(self) -> Wanted | None:
        """The next stretch of the log to read; None if no lane has room.

        It begins at the reading position of the lane that is furthest behind or has waited longest, and serves every
        lane that it covers.
        """
        for lane in list(self._behind):
            # A lane that has caught up calls `wants_events` again when its row is durable.
            if not lane.wants_to_read or lane.read_from >= self.dispatched_to:
                del self._behind[lane]
        if not self._behind:
            return None
        if self._stretches % FAIR_STRETCHES == 0:
            start = next(iter(self._behind)).read_from
        else:
            start = min(lane.read_from for lane in self._behind)
        return Wanted(start, None if self._matching else frozenset(lane.key for lane in self._behind))

    def feed(self, wanted: Wanted, end: int, events: Sequence[Event]) -> None:
        """Give each lane its events of a stretch of the log, from the wanted offset up to *end*.

        Events that were not dispatched yet are left to the stream. If a lane called `wants_events` only after the
        stretch was requested, its events may have been left out, so it gets nothing.
        """
        self._stretches += 1
        start, end = wanted.start, min(end, self.dispatched_to)
        keys = self.lanes if wanted.keys is None else wanted.keys
        fed: dict[bytes, list[Event]] = {}
        lanes = [
            lane for lane in self._behind if start <= lane.read_from < end and lane.key in keys and lane.wants_to_read
        ]
        for lane in lanes:
            fed[lane.key] = []
            self._behind[lane] = self._behind.pop(lane)  # the lane moves to the end of the line
        for event in events:
            for key in keys_among(event, fed, self._matching) if event.offset < end else ():
                fed[key].append(event)
        for lane in lanes:
            lane.feed(fed[lane.key], end)
        if lanes:
            self.progressed_at = steady_now()

    def log_begins_at(self, offset: int) -> None:
        """Skip to *offset*, because retention has deleted everything before it. The lanes' lost events are counted."""
        for lane in self._behind:
            if lane.read_from < offset:
                lane.report_dropped("retention", offset - 1, offset - lane.read_from)
                lane.skip_to(offset)

    # --------------------------------------------------------------- the checkpoint

    def checkpoint(self) -> None:
        """About once a second: make slow lanes fall behind, apply `startingAt` and `endingAt`, write outdated rows."""
        if self.is_draining:
            return
        self.end_holding(steady_now())
        self.reconciler.keep_time()
        # Until the stream has passed the former owner's note, rows must not be deleted: a lane without a row would skip
        # replayed events that are in the note.
        is_past_note = self.committed is not None and self.committed >= self.window.noted_to
        self.rows.refresh(self.committed if is_past_note else None, self.begun_to)
        self.rows.count(self.dispatched_to, steady_now())

    def end_holding(self, now: float) -> None:
        """Make lanes that have held an event in the window for too long fall behind."""
        limit = self._worker.limits.hold_seconds
        patience = min(limit, PATIENCE_SECONDS) if self.is_paused else limit
        since = self.window.oldest_since()
        if since is None or since > now - patience:
            return
        too_old = lagging = self.window.dispatched_before(now - limit)
        if self.is_paused:
            lagging = max(too_old, min(self.window.dispatched_before(now - patience), self._pace()))
        for lane in list(self.lanes.values()):
            first = lane.events.held.first
            # If a lane waits for a slot, the worker is slow, not the lane.
            if first is not None and (first < too_old or (first < lagging and not lane.waits.for_slots)):
                lane.go_behind()

    def _pace(self) -> int:
        """A lane before this offset lags far behind the quicker lanes."""
        head, dispatched_to = self.window.committable, self.dispatched_to
        firsts = [(lane.events.held.first, lane.events.progress.settled_to) for lane in self.lanes.values()]
        lags = sorted(
            0 if first is None else dispatched_to - first
            for first, settled in firsts
            if first is not None or settled > head
        )
        return dispatched_to - LAGGING_FACTOR * lags[len(lags) // 4] if lags else dispatched_to

    def sweep(self) -> None:
        """Remove lanes without work and without a row, so that memory depends only on the subscriptions in use."""
        committed = self.committed
        if committed is None:
            return
        for lane in list(self.lanes.values()):
            progress = lane.events.progress
            has_come_further = progress.row is not None or progress.settled_to > committed
            if lane.is_idle and not (has_come_further or lane.awaits_command):
                del self.lanes[lane.key]
                self.rows.forget(lane)
                self.reconciler.forget_times(lane)

    # --------------------------------------------------------------- the end

    async def drain(self, seconds: float) -> int:
        """Prepare to give the partition back: begin no attempt, let attempts under way end, make the rows durable.

        Args:
            seconds: how long attempts in flight may take. After that they are cancelled: their events stay unsettled,
                but the attempts count.

        Returns:
            The offset to commit.
        """
        self.is_draining = True
        for lane in self.lanes.values():
            lane.waits.wake()
        if self._runners:
            await asyncio.wait(self._runners, timeout=seconds)
        await _cancel_all(self._runners)
        for lane in self.lanes.values():
            lane.claims.hand_back_ahead()
        self._count_cut_off()
        await self.rows.write_last(self.window.committable)
        self._count_handed_back()
        return self.window.committable

    def _count_cut_off(self) -> None:
        """Count claimed events whose attempt was cancelled. They may be lost: at-most-once can't send them again."""
        for lane in self.lanes.values():
            for flight in lane.events.in_flight.values():
                if flight.claimed:
                    lane.report_dropped("given-up", flight.offset)

    def _count_handed_back(self) -> None:
        """Count events whose claim was handed back, but whose row is not durable: the next owner skips them."""
        for lane in self.lanes.values():
            for offset in lane.events.progress.handed_back:
                flight = lane.events.in_flight.get(offset)
                if flight is None or not flight.claimed:  # `_count_cut_off` has counted all others
                    lane.report_dropped("given-up", offset)

    async def close(self) -> None:
        """End all work at once. Results of events in flight no longer count."""
        if not self.is_draining:
            self.is_draining = True
            for lane in self.lanes.values():
                lane.claims.hand_back_ahead()  # no row will record this, so the events are counted below
            self._count_cut_off()
            self._count_handed_back()
        for lane in self.lanes.values():
            lane.close()
        await _cancel_all(self._runners)


async def _cancel_all(tasks: Collection["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
