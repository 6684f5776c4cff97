"""A lane: one subscription in one partition. Its states are in lane_state.py, what others may ask in lane_view.py.

LaneEvents (lane_events.py) keeps track of where its events are. The lane decides what happens to them: by its state,
its subscription, and the commands of people. Runners (runner.py) take events and report what became of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pipeline.core.in_flight import InFlight
from pipeline.core.lane_state import HALTED, TRANSITIONS, LaneState
from pipeline.core.lane_view import LaneView
from pipeline.core.model import Cause, Cursor, Event, Status
from pipeline.core.observer import RecoveredBy
from pipeline.core.outcome import Delivered, Failed, Outcome
from pipeline.core.policy import CauseKind, Rules
from pipeline.core.probing import PROBED_KINDS, scheduled, taken_up
from pipeline.core.redaction import shown_host
from pipeline.core.subscription import Qos, RetryPolicy, Subscription, status_of


class Lane(LaneView):
    """One subscription in one partition, and what happens to it. It alone writes the attributes of its view."""

    def _enter(self, state: LaneState, cause: Cause | None = None, *, by: RecoveredBy = "command") -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"a lane can't go from {self.state.name} to {state.name}")
        if self.is_probing:
            self._services.probes.leave(self)
        former, self.state, self.cause = self.cause, state, cause
        if former is not None and self.status is not Status.FAILURE and self.subscription is not None:
            self._services.telemetry.subscription_recovered(
                self.subscription, self._home.topic, self._home.number, former, by
            )

    # --------------------------------------------------------------- events come

    def offer(self, event: Event) -> None:
        """An event from the stream."""
        events = self.events
        if self.state is not LaneState.LIVE:
            events.pass_by(event)
            self._rows.uncounted(self.key, event.offset)
            return
        offset = event.offset
        if offset < events.progress.floor:
            return
        if self._settled_at_receipt:
            if events.queue.is_full:
                self._services.telemetry.dropped(
                    "lane-full", subscription=self.name, topic=event.topic, partition=event.partition, offset=offset
                )
                # It is still in the log, where a lane that leaves the stream later reads it, and it was not counted.
                events.unread.forget(offset + 1)
                return
        else:
            events.held.add(offset)
        events.queue_up(event)
        if not self._settled_at_receipt and events.queue.is_over_its_bound:
            self.go_behind()
        elif self._runners < self._concurrency:
            self._start_runner()

    def pass_over(self, offset: int) -> None:
        """The former owner has settled an event of the stream."""
        self.events.progress.settle(offset)
        # It is still in the log, where a lane that leaves the stream before it reads it, and it was not counted.
        self.events.unread.forget(offset + 1)

    def feed(self, events: Sequence[Event], end: int) -> None:
        """The lane's events of a stretch of the log that reaches from `read_from`, or before it, to *end*."""
        if self.is_probing and (events := [event for event in events if event.offset >= self.read_from][:1]):
            end = events[0].offset + 1
        self.events.feed(events, end)
        for _ in range(min(self._concurrency - self._runners, len(self.events.queue))):
            self._start_runner()
        self.join_stream()

    def skip_to(self, offset: int) -> None:
        """The log begins at *offset* now: there is nothing to be read before it."""
        self.events.skip_to(offset)
        self.join_stream()

    def join_stream(self) -> None:
        """Go live if everything before `dispatched` has been read."""
        caught_up = not self.events.held.awaits_row and self.read_from >= self._home.dispatched
        if caught_up and self.is_probing and self.wants_to_read:
            self.recover()  # nothing is owed; what comes is sent as it comes
        elif caught_up and self.wants_to_read:
            self.events.end_reading()
            self._enter(LaneState.LIVE)
            self._rows.note(self.key)

    def _read_on(self) -> None:
        """Join the stream or ask for events, if the lane is behind."""
        self.join_stream()
        if self.wants_to_read:
            self._home.wants_events(self.key)

    # --------------------------------------------------------------- runners take them

    def _start_runner(self) -> None:
        self._runners += 1
        self._home.start_runner(self.key)

    def runner_ended(self) -> None:
        """One fewer is at work."""
        self._runners -= 1

    def take(self) -> InFlight | None:
        """The next event, for a runner. None if there is none, or if it must not be sent now."""
        if self.state.is_halted or self._home.is_draining or self._runners > self._concurrency:
            return None
        flight = self.events.take()
        if flight is not None and self.state is LaneState.BEHIND:
            self._read_on()
        return flight

    def is_current(self, flight: InFlight) -> bool:
        """Whether the result of the event still counts. It does not if a command has moved the cursor since."""
        return self.events.is_current(flight)

    def may_go_on(self, flight: InFlight) -> bool:
        """Whether the event may still be sent after a wait. If the lane is halted, it returns to the log."""
        if not self.events.is_current(flight) or self._home.is_draining:
            # While draining it stays in flight, so that the row says how often it was tried and when it is due.
            return False
        flight.not_before = 0.0
        if self.state.is_halted:
            self.events.return_to_log(flight)
            return False
        if self._runners > self._concurrency and min(self.events.in_flight) < flight.offset:
            # An edit allows fewer at a time, and an ordered level has to finish the earlier ones first.
            self._return_to_log(flight)
            return False
        return True

    def saw(self, outcome: Outcome) -> None:
        """An attempt has ended."""
        self.is_suspect = isinstance(outcome, Failed) and outcome.timed_out
        if isinstance(outcome, Delivered):
            self.events.progress.last_success_at = self._services.clock.now()

    def settle(self, flight: InFlight) -> None:
        """The event is done."""
        events = self.events
        events.settle(flight.offset)
        if events.progress.row is not None:
            self._rows.note(self.key)
        if self.is_probing:
            self._read_on()  # the event was not wanted, and tells nothing

    def back_off(self, flight: InFlight, seconds: float) -> None:
        """The event is to be tried again, in *seconds*."""
        self.claims.hand_back(flight)
        if seconds > 0:
            flight.not_before = self._services.clock.now() + seconds
            self._rows.note(self.key)

    def shelve(self, flight: InFlight, seconds: float) -> bool:
        """Spend a long wait outside of memory, at the cost of a row and a timer. Returns False if the wait is short."""
        if self._concurrency > 1 or self.is_probing or seconds < self._services.limits.hold_seconds:
            return False
        flight.not_before = self._services.clock.now() + seconds
        self._wait_until(flight.not_before)
        self._return_to_log(flight)
        return True

    def _return_to_log(self, flight: InFlight) -> None:
        self._leave_stream()
        self._enter(LaneState.BEHIND)
        self.events.return_to_log(flight)
        self._write_row()

    def _wait_until(self, moment: float) -> None:
        seconds = moment - self._services.clock.now()
        if seconds > 0:
            self.waits.set_timer(seconds, self._read_on)

    # --------------------------------------------------------------- it leaves the stream

    def go_behind(self) -> None:
        """Leave the stream: what is queued will be read from the log again."""
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
            has_arrived: the receiver may have seen the event, so at-most-once can't send it again.
        """
        observer, topic, partition = self._services.telemetry, flight.event.topic, flight.event.partition
        if flight.claimed and has_arrived:
            observer.settled("dropped")
            observer.dropped("given-up", subscription=self.name, topic=topic, partition=partition, offset=flight.offset)
        else:
            self.claims.hand_back(flight)
        # While the event is still in flight: it may be claimed itself, and no row that is written at once may pass it.
        self.claims.hand_back_ahead()
        self.events.remove(flight)
        cause = Cause(kind, message, flight.offset, self._services.clock.now(), flight.tries.summary())
        former = self.cause if self.is_probing and kind in PROBED_KINDS else None
        if former is not None:  # it is still the same FAILURE
            cause = replace(cause, at=former.at, probes=former.probes)
        self._halt(LaneState.FAILED, cause, None if flight.claimed else flight)
        if self.subscription is not None:
            tell = observer.subscription_failed if former is None else observer.probe_failed
            tell(self.subscription, topic, partition, self.cause or cause)

    def stop(self, status: Status, cause: Cause | None = None) -> None:
        """Stop delivering. Requests under way may still arrive."""
        if self.state is not HALTED[status]:
            self._halt(HALTED[status], cause, None)

    def _halt(self, state: LaneState, cause: Cause | None, kept: InFlight | None) -> None:
        self._leave_stream()
        if kept is not None:
            self.events.keep(kept)
        self._enter(state, cause)
        self.events.forget_tries()
        self.waits.end()
        if cause is not None:
            self._await_probe(scheduled(cause, self._probes, self._services.clock.now(), self._services.chance()))
        self._write_row()

    def _leave_stream(self) -> None:
        """Leave the queue to the log. Reading begins with its first event, and never before the cursor."""
        self.claims.hand_back_ahead()
        self.events.empty_queue(self._beyond)
        if self.state is LaneState.LIVE:
            self.events.held.await_row()

    def _write_row(self) -> None:
        self._awaited = row = self._rows.write(self.key)
        row.add_done_callback(self._row_landed)

    def _row_landed(self, row: "asyncio.Future[None]") -> None:
        # Only the last row counts: an older one may have been deleted since.
        if row is not self._awaited or row.cancelled() or row.exception() is not None:
            return  # fenced or closed: the next owner begins at the committed offset
        if self.events.held.awaits_row:
            self.events.held.release()
        self._read_on()

    # --------------------------------------------------------------- it is probed

    @property
    def _probes(self) -> RetryPolicy | None:
        """When it is probed: never while its publisher or its consumer does not want it to deliver."""
        subscription = self.subscription
        if subscription is None or status_of(subscription, self._services.clock.now()) is not Status.STARTED:
            return None
        return subscription.probes

    def _await_probe(self, cause: Cause) -> None:
        self.cause = cause
        if cause.probes is not None and cause.probes.next_at is not None:
            self.waits.set_timer(max(0.0, cause.probes.next_at - self._services.clock.now()), self._probe)

    def _probe(self) -> None:
        """It is time: send the first event again, once."""
        services, subscription, cause, now = self._services, self.subscription, self.cause, self._services.clock.now()
        if subscription is None or cause is None or cause.probes is None or self._home.is_draining:
            return
        # What was under way when it failed may not have ended, its time may be over, others may be probing the host.
        is_in_turn = self._probes is not None and not self._runners
        if not (is_in_turn and services.probes.enter(self, shown_host(subscription.url))):
            self._await_probe(taken_up(cause, self._probes, now, services.chance()))
            return
        made = cause.probes.made + 1
        self._enter(LaneState.PROBING, scheduled(cause, self._probes, now, services.chance(), made=made))
        self.events.recall_tries(cause)
        self.is_suspect = True
        self._write_row()
        self._read_on()

    def recover(self) -> None:
        """The receiver takes events again: the FAILURE ends. For a lane that is not being probed nothing happens."""
        if not self.is_probing:
            return
        self._enter(LaneState.BEHIND, by="probe")
        self._rows.note(self.key)
        self._read_on()

    # --------------------------------------------------------------- what people ask for

    def configure(self, subscription: Subscription | None, rules: Rules) -> None:
        """Work by this revision from the next attempt on."""
        self.subscription = subscription
        self.rules = rules
        self._concurrency = 1 if subscription is None else max(1, subscription.concurrency)
        self._settled_at_receipt = rules.qos is Qos.NONE
        self.events.match_by(None if self._services.matching is None else subscription)
        if rules.qos is not Qos.AT_MOST_ONCE:
            self.claims.hand_back_ahead()

    def note_revision(self, revision: int) -> None:
        """The command of this revision was carried out here. The next row says so."""
        self.events.progress.revision = revision

    def resume(self) -> None:
        """Go on from the cursor at once: clear FAILURE, end all waits."""
        self.waits.end()
        if self.state.is_halted or self.is_probing:
            self._enter(LaneState.BEHIND)
            self._rows.note(self.key)
        self._read_on()

    def move(self, offset: int) -> None:
        """Go on from *offset*, before or after the cursor. Clears FAILURE; results of what is in flight don't count."""
        self._leave_stream()
        self.events.move(offset)
        self._start_over()

    def begin(self, offset: int) -> None:
        """Nothing before *offset* is for the subscription, which is new."""
        self.events.progress.go_on_from(offset)

    def skip(self, offset: int) -> None:
        """Pass over the event at *offset*, the next one. Clears FAILURE; what is in flight goes on."""
        self._leave_stream()
        self.events.skip(offset)
        self._start_over()

    def _start_over(self) -> None:
        # In the same row as the cursor: a worker that finds the command noted must find FAILURE cleared as well.
        self._enter(LaneState.BEHIND)
        self.waits.end()
        self._write_row()

    def abandon(self) -> int:
        """The subscription was deleted, and its events with it. Returns how many were in memory."""
        given_up = self.events.abandon()
        self._services.probes.leave(self)
        self.state, self.cause = LaneState.LIVE, None
        self.waits.end()
        return given_up

    # --------------------------------------------------------------- the partition is opened, and closed

    def restore(self, row: Cursor, position: int) -> None:
        """Take up a row after the partition was opened at *position* (docs/design.md, Lanes and cursors)."""
        self.events.restore(row, position)
        if row.status is not Status.STARTED:
            self._enter(HALTED[row.status], row.cause)
            if row.cause is not None:
                now, chance = self._services.clock.now(), self._services.chance()
                self._await_probe(taken_up(row.cause, self._probes, now, chance))
        elif row.next < position or row.attempt:
            self._enter(LaneState.BEHIND)
            self._wait_until(row.not_before)
            self._read_on()

    def close(self) -> None:
        """The partition is closed: results of what is in flight no longer count."""
        self.events.close()
        self._services.probes.leave(self)
        self.waits.end()
