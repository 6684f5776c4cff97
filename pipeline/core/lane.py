"""A lane: one subscription in one partition. lane_state.py defines its states, lane_view.py what others may read.

LaneEvents (lane_events.py) tracks where the lane's events are. The lane decides what happens to them, based on its
state, its subscription, and commands. Runners (runner.py) take events and report the results. docs/design.md (Lanes
and cursors) explains how these parts work together.
"""

import asyncio
from collections.abc import Callable, Sequence
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
from pipeline.core.subscription import Qos, RetryPolicy, Subscription


class Lane(LaneView):
    """One subscription in one partition, and what happens to it. Only it writes the attributes of `LaneView`."""

    def _enter(self, state: LaneState, cause: Cause | None = None, *, by: RecoveredBy = "command") -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"a lane can't go from {self.state.name} to {state.name}")
        if self.is_probing:
            self._services.probes.leave(self)
        former, self.state, self.cause = self.cause, state, cause
        if former is not None and self.status is not Status.FAILURE and self.subscription is not None:
            self._services.observer.subscription_recovered(
                self.subscription, self._home.topic, self._home.number, former, by
            )

    # --------------------------------------------------------------- events arrive

    def offer(self, event: Event) -> None:
        """Take an event from the stream."""
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
                self.report_dropped("lane-full", offset)
                # The event is not counted as waiting. It stays in the log, where the lane reads it after leaving the
                # stream.
                events.in_log.forget(offset + 1)
                return
        else:
            events.held.add(offset)
        events.queue_up(event)
        if not self._settled_at_receipt and events.queue.is_over_its_bound:
            self.go_behind()
        elif self._runners < self._concurrency:
            self._start_runner()

    def pass_over(self, offset: int) -> None:
        """Skip an event of the stream that the former owner has settled."""
        self.events.progress.settle(offset)
        # The event is not counted as waiting. If the lane falls behind at an earlier event, it reads this event again.
        self.events.in_log.forget(offset + 1)

    def feed(self, events: Sequence[Event], end: int) -> None:
        """Take the lane's events from a stretch of the log that begins at or before `read_from`, and ends at *end*."""
        if self.is_probing and (events := [event for event in events if event.offset >= self.read_from][:1]):
            end = events[0].offset + 1
        self.events.feed(events, end)
        for _ in range(min(self._concurrency - self._runners, len(self.events.queue))):
            self._start_runner()
        self.join_stream()

    def skip_to(self, offset: int) -> None:
        """Continue reading at *offset*, where the log begins now."""
        self.events.skip_to(offset)
        self.join_stream()

    def join_stream(self) -> None:
        """Go live if everything before `dispatched_to` has been read."""
        caught_up = not self.events.held.awaits_row and self.read_from >= self._home.dispatched_to
        if caught_up and self.is_probing and self.wants_to_read:
            self.recover()  # no event is left to probe with
        elif caught_up and self.wants_to_read:
            self.events.end_reading()
            self._enter(LaneState.LIVE)
            self._rows.mark_stale(self.key)

    def _read_on(self) -> None:
        """Join the stream or ask for events, if the lane is behind."""
        self.join_stream()
        if self.wants_to_read:
            self._home.wants_events(self.key)

    # --------------------------------------------------------------- runners

    def _start_runner(self) -> None:
        self._runners += 1
        self._home.start_runner(self.key)

    def runner_ended(self) -> None:
        """Record that a runner has ended."""
        self._runners -= 1

    def take(self) -> InFlight | None:
        """Pass the next event to a runner. Returns None if there is no event, or if it must not be sent now."""
        if self.state.is_halted or self._home.is_draining or self._runners > self._concurrency:
            return None
        flight = self.events.take()
        if flight is not None and self.state is LaneState.BEHIND:
            self._read_on()
        return flight

    def is_current(self, flight: InFlight) -> bool:
        """Whether the result of the event still counts: no command has moved the cursor since the event was taken."""
        return self.events.is_current(flight)

    def may_go_on(self, flight: InFlight) -> bool:
        """Whether the event may still be sent after a wait. If the lane is halted, the event returns to the log."""
        if not self.events.is_current(flight) or self._home.is_draining:
            # While draining, the event stays in flight, so that the row records its tries and when it is due.
            return False
        flight.not_before = 0.0
        if self.state.is_halted:
            self.events.return_to_log(flight)
            return False
        if self._runners > self._concurrency and min(self.events.in_flight) < flight.offset:
            # An edit allows fewer requests at a time, and an ordered level has to finish earlier events first.
            self._return_to_log(flight)
            return False
        return True

    def saw(self, outcome: Outcome) -> None:
        """Record the outcome of an attempt."""
        self.is_suspect = isinstance(outcome, Failed) and outcome.timed_out
        if isinstance(outcome, Delivered):
            self.events.progress.last_success_at = self._services.clock.now()

    def settle(self, flight: InFlight) -> None:
        """Settle the event."""
        events = self.events
        events.settle(flight.offset)
        if events.progress.row is not None:
            self._rows.mark_stale(self.key)
        if self.is_probing:
            self._read_on()  # the event was filtered out, so the probe has to send another one

    def back_off(self, flight: InFlight, seconds: float) -> None:
        """Schedule another attempt for the event, to begin in *seconds*."""
        self.claims.hand_back(flight)
        if seconds > 0:
            flight.not_before = self._services.clock.now() + seconds
            self._rows.mark_stale(self.key)

    def shelve(self, flight: InFlight, seconds: float) -> bool:
        """Return the event to the log for a long wait, at the cost of a row and a timer.

        Returns False if the event has to wait in memory: the wait is shorter than WEBHOOKS_HOLD_SECONDS, the lane may
        send several events at a time, or the event is a probe.
        """
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

    # --------------------------------------------------------------- leaving the stream

    def go_behind(self) -> None:
        """Leave the stream: queued events will be read again from the log."""
        if self.state is LaneState.LIVE:
            self._leave_stream()
            self._enter(LaneState.BEHIND)
            self._write_row()

    def fail(self, flight: InFlight, kind: CauseKind, message: str, *, has_arrived: bool) -> None:
        """Go into FAILURE, and keep the event. A claimed event that may have arrived is given up.

        Args:
            flight: the event at fault.
            kind: the kind of failure.
            message: a sentence, without secrets.
            has_arrived: whether the receiver may have seen the event, so that at-most-once can't send it again.
        """
        observer = self._services.observer
        if flight.claimed and has_arrived:
            observer.settled("dropped")
            self.report_dropped("given-up", flight.offset)
        else:
            self.claims.hand_back(flight)
        # This comes before `remove`: the event may be claimed, and the row that is written here must not move the
        # cursor past it.
        self.claims.hand_back_ahead()
        self.events.remove(flight)
        cause = Cause(kind, message, flight.offset, self._services.clock.now(), flight.tries.summary())
        former = self.cause if self.is_probing and kind in PROBED_KINDS else None
        if former is not None:  # a failed probe does not begin a new FAILURE
            cause = replace(cause, at=former.at, probes=former.probes)
        self._halt(LaneState.FAILED, cause, None if flight.claimed else flight)
        if self.subscription is not None:
            tell = observer.subscription_failed if former is None else observer.probe_failed
            tell(self.subscription, self._home.topic, self._home.number, self.cause or cause)

    def stop(self, status: Status, cause: Cause | None = None) -> None:
        """Stop delivering. Requests under way are not cancelled."""
        if self.state is not HALTED[status]:
            self._halt(HALTED[status], cause, None)

    def _halt(self, state: LaneState, cause: Cause | None, kept: InFlight | None) -> None:
        self._leave_stream()
        if kept is not None:
            self.events.keep(kept)
        self._enter(state, cause)
        self.waits.end()
        if cause is not None:
            self._await_probe(cause, scheduled)
        self._write_row()

    def _leave_stream(self) -> None:
        """Empty the queue: its events will be read again from the log, but none before the cursor."""
        self.claims.hand_back_ahead()
        self.events.empty_queue(self._beyond)
        if self.state is LaneState.LIVE:
            self.events.held.await_row()

    def _write_row(self) -> None:
        self._awaited = row = self._rows.write(self.key)
        row.add_done_callback(self._row_landed)

    def _row_landed(self, row: "asyncio.Future[None]") -> None:
        # Only the newest row counts, because older rows may have been deleted.
        if row is not self._awaited or row.cancelled() or row.exception() is not None:
            return  # fenced or closed: the next owner begins at the committed offset
        if self.events.held.awaits_row:
            self.events.held.release()
        self._read_on()

    # --------------------------------------------------------------- probes

    @property
    def _probes(self) -> RetryPolicy | None:
        """The schedule of probes.

        None if the lane is not probed, or while publisher or consumer have stopped deliveries.
        """
        subscription = self.subscription
        return None if subscription is None or self.wanted_status is not Status.STARTED else subscription.probes

    def _await_probe(self, cause: Cause, schedule: Callable[[Cause, RetryPolicy | None, float, float], Cause]) -> None:
        """Store the cause with the time of the next probe, as *schedule* (probing.py) determines it, and wait."""
        now = self._services.clock.now()
        self.cause = cause = schedule(cause, self._probes, now, self._services.chance())
        if cause.probes is not None and cause.probes.next_at is not None:
            self.waits.set_timer(max(0.0, cause.probes.next_at - now), self._probe)

    def _probe(self) -> None:
        """Send the first event once. If this is not possible now, schedule another probe."""
        services, subscription, cause = self._services, self.subscription, self.cause
        if subscription is None or cause is None or cause.probes is None or self._home.is_draining:
            return
        # Deliveries may be stopped, earlier requests may still be under way, or the host may have its two probes
        # already.
        is_in_turn = self._probes is not None and not self._runners
        if not (is_in_turn and services.probes.enter(self, shown_host(subscription.url))):
            self._await_probe(cause, taken_up)
            return
        now, made = services.clock.now(), cause.probes.made + 1
        self._enter(LaneState.PROBING, scheduled(cause, self._probes, now, services.chance(), made=made))
        self.events.recall_tries(cause)
        self.is_suspect = True
        self._write_row()
        self._read_on()

    def recover(self) -> None:
        """End the FAILURE, because the receiver accepts events again. Does nothing unless the lane is being probed."""
        if not self.is_probing:
            return
        self._enter(LaneState.BEHIND, by="probe")
        self._rows.mark_stale(self.key)
        self._read_on()

    # --------------------------------------------------------------- edits and commands

    def configure(self, subscription: Subscription | None, rules: Rules) -> None:
        """Use this revision from the next attempt on."""
        self.subscription = subscription
        self.rules = rules
        self._concurrency = 1 if subscription is None else max(1, subscription.concurrency)
        self._settled_at_receipt = rules.qos is Qos.NONE
        self.events.match_by(None if self._services.matching is None else subscription)
        if rules.qos is not Qos.AT_MOST_ONCE:
            self.claims.hand_back_ahead()

    @property
    def wanted_status(self) -> Status | None:
        """The status that the subscription should have now; None without a subscription."""
        return None if self.subscription is None else self.subscription.status_at(self._services.clock.now())

    def follow_wanted_status(self) -> None:
        """Halt or resume the lane, as its subscription now requires. Only a new revision or a probe ends FAILURE."""
        subscription, wanted = self.subscription, self.wanted_status
        if subscription is None or wanted is None:
            return
        if wanted is Status.FAILURE:
            cause = Cause("configuration", subscription.problem or "", None, self._services.clock.now())
            if self.status is not Status.FAILURE:
                self._services.observer.subscription_failed(subscription, self._home.topic, self._home.number, cause)
            self.stop(wanted, cause)
        elif self.status is Status.FAILURE:
            return
        elif wanted is not Status.STARTED:
            self.stop(wanted)
        elif self.state.is_halted:
            self.resume()

    def record_revision(self, revision: int) -> None:
        """Record that the command of this revision was carried out. The next row records it."""
        self.events.progress.revision = revision

    def resume(self) -> None:
        """Continue from the cursor at once: clear FAILURE, end all waits."""
        self.waits.end()
        self.events.end_wait()
        if self.cause is not None:
            self.events.forget_tries(self.cause)
        if self.state.is_halted or self.is_probing:
            self._enter(LaneState.BEHIND)
            self._rows.mark_stale(self.key)
        self._read_on()

    def move(self, offset: int) -> None:
        """Continue from *offset*, before or after the cursor. Clears FAILURE; events in flight no longer count."""
        self._leave_stream()
        self.events.move(offset)
        self._start_over()

    def begin(self, offset: int) -> None:
        """Begin a new subscription at *offset*: no earlier event is for this subscription."""
        self.events.progress.go_on_from(offset)

    def skip(self, offset: int) -> None:
        """Skip the event at *offset*, which is the next one. Clears FAILURE; other events stay in flight."""
        self._leave_stream()
        self.events.skip(offset)
        self._start_over()

    def _start_over(self) -> None:
        # One row records both the command and the end of the FAILURE, so that the next owner never finds only the
        # command.
        self._enter(LaneState.BEHIND)
        self.waits.end()
        self._write_row()

    def abandon(self) -> int:
        """Give up all events, because the subscription was deleted. Returns how many events were in memory."""
        given_up = self.events.abandon()
        self._services.probes.leave(self)
        self.state, self.cause = LaneState.LIVE, None
        self.waits.end()
        return given_up

    # --------------------------------------------------------------- opening and closing the partition

    def restore(self, row: Cursor, position: int) -> None:
        """Restore the lane from a row; the partition was opened at *position* (docs/design.md, Lanes and cursors)."""
        self.events.restore(row, position)
        if row.status is not Status.STARTED:
            self._enter(HALTED[row.status], row.cause)
            if row.cause is not None:
                self._await_probe(row.cause, taken_up)
        elif row.next < position or row.attempt:
            self._enter(LaneState.BEHIND)
            self._wait_until(row.not_before)
            self._read_on()

    def close(self) -> None:
        """Close the lane with its partition: results of events in flight no longer count."""
        self.events.close()
        self._services.probes.leave(self)
        self.waits.end()
