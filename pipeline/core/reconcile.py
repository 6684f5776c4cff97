"""Applies revisions of subscriptions, and the commands in them, to one partition (docs/design.md, Commands).

A command is part of a revision, and later revisions repeat it. The owner of a partition carries out the commands once,
in order, and records that in the cursor row. Each partition has one `Reconciler`. The dispatcher calls it for every
change of a subscription.
"""

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pipeline.core.beginnings import Beginnings
from pipeline.core.lane import Lane
from pipeline.core.lane_rows import LaneRows
from pipeline.core.lane_state import LaneState
from pipeline.core.model import Cause, Status
from pipeline.core.policy import UNKNOWN_RULES, Rules
from pipeline.core.ports import Home, PartitionServices
from pipeline.core.subscription import Command, Filter, ReplayOffset, ReplayTimestamp, Skip, Subscription, status_of

logger = logging.getLogger(__name__)


def is_next_event(lane: Lane, offset: int, dispatched: int) -> bool | None:
    """Whether the lane's next event is at *offset*; None if the log has to be read to find out.

    The cursor of a lane that is not live may be at an event of another subscription.
    """
    here = lane.first_waiting
    if lane.state is LaneState.LIVE or not here <= offset < dispatched:
        return offset == here < dispatched
    known = [*lane.events.unclaimed(), *(event.offset for event in lane.events.queue)]
    known += [lane.events.shelved.offset] if lane.events.shelved is not None else []
    is_known = here in known or (lane.cause is not None and lane.cause.offset == here)
    return offset == here if is_known else None


class LaneHolder(Home, Protocol):
    """The partition whose lanes follow their subscriptions (core/partition.py)."""

    number: int
    name: str
    lanes: dict[bytes, Lane]
    rows: LaneRows
    beginnings: Beginnings
    begun_to: int

    def spawn(self, work: Callable[[], Coroutine[object, object, None]], lane: Lane) -> None:
        """Run a lane's work as a task of the partition."""
        ...


@dataclass(frozen=True, slots=True)
class _Order:
    """A command to be carried out in a lane, and the revision that was read, which may be later than the command's."""

    lane: Lane
    subscription: Subscription
    command: Command


class Reconciler:
    """Makes the lanes of a partition follow their subscriptions."""

    def __init__(self, partition: LaneHolder, worker: PartitionServices) -> None:
        self._partition = partition
        self._worker = worker
        self._scheduled: dict[Lane, None] = {}  # lanes whose subscription has a `startingAt` or an `endingAt`

    def keep_time(self, now: float) -> None:
        """Begin and end subscriptions at their `startingAt` and `endingAt`."""
        for lane in list(self._scheduled):
            if lane.subscription is not None:
                self._apply_desired_status(lane, lane.subscription, now)

    def forget_times(self, lane: Lane) -> None:
        """Forget the `startingAt` and `endingAt` of a lane that was removed."""
        self._scheduled.pop(lane, None)

    def make_lane(self, key: bytes, start: int) -> Lane:
        """A lane that begins at *start*. It is not added to the partition."""
        return Lane(key, self._partition, self._partition.rows, self._worker, start)

    def new_lane(self, key: bytes, start: int) -> Lane:
        """Add the lane of a key whose first event is at *start*. Its subscription may begin after that event."""
        lane = self._partition.lanes[key] = self.make_lane(key, start)
        subscription = None if lane.name is None else self._worker.registry.get(lane.name)
        self.configure(lane, subscription)
        if subscription is not None and self._worker.matching is not None:
            lane.begin(max(start, self._partition.beginnings.first_offset(subscription, start)))
        if subscription is not None:
            # Commands for this partition were carried out when it was opened, or when they arrived.
            lane.record_revision(subscription.revision)
            self._apply_desired_status(lane, subscription, self._worker.clock.now())
        return lane

    def configure(self, lane: Lane, subscription: Subscription | None) -> None:
        """Configure the lane for a revision of its subscription; None if there is no subscription."""
        worker, former = self._worker, lane.subscription
        if (
            worker.matching is not None
            and former is not None
            and former.filter != getattr(subscription, "filter", None)
        ):
            lane.events.unread.forget(self._partition.dispatched)  # counted with the former filter
        if subscription is None:
            lane.configure(None, UNKNOWN_RULES)
            return
        if worker.matching is not None:
            # So that its rows are not mistaken for those of a deleted subscription with this id (`is_of_former`).
            lane.record_revision(max(lane.events.progress.revision, subscription.created - 1))
        rules = Rules(subscription.qos, subscription.retry, subscription.interrupt, worker.has_dead_letters)
        lane.configure(subscription, rules)
        if subscription.starting_at is not None or subscription.ending_at is not None:
            self._scheduled[lane] = None
        else:
            self._scheduled.pop(lane, None)

    def update(self, subscription_id: str, subscription: Subscription | None, *, is_new: bool = False) -> None:
        """Apply a new revision; None if the subscription was deleted.

        *is_new* is only set with `routing: match`: the subscription was not known before.
        """
        key = subscription_id.encode()
        lane = self._partition.lanes.get(key)
        # If created before `begun_to`, it has begun: this is then an edit that was written after its deletion.
        if is_new and subscription is not None and subscription.created >= self._partition.begun_to:
            if lane is not None:  # the lane of a deleted subscription with this id, or of earlier events
                self._forget(lane, self._partition.beginnings.first_offset(subscription, self._partition.dispatched))
            self.begin(subscription)
            return
        if lane is None:
            if subscription is None or not self._is_concerned(subscription):
                return
            lane = self._partition.lanes[key] = self.make_lane(key, self._first_offset(subscription))
        self.configure(lane, subscription)
        if subscription is None:
            self._forget(lane)
        else:
            self.reconcile(lane, subscription)

    def begin(self, subscription: Subscription) -> None:
        """Begin a subscription without a row: behind, if the stream or a note has passed its first offset."""
        partition, key = self._partition, subscription.id.encode()
        first = partition.beginnings.first_offset(subscription, partition.dispatched)
        # The former owner wrote its note without this subscription, so the note must not apply to it. The lane writes a
        # row, because lanes with a row ignore notes.
        passed = partition.dispatched if subscription.starts is None else partition.window.noted_to
        is_behind = first < max(partition.dispatched, passed)
        lane = partition.lanes.get(key)
        if lane is None:
            if not (is_behind or self._is_concerned(subscription)):
                return
            lane = partition.lanes[key] = self.make_lane(key, first)
        self.configure(lane, subscription)
        if is_behind:
            logger.info("subscription %s: begins at %d of %s", lane.name, first, partition.name)
            lane.move(first)
            partition.beginnings.began_behind(lane, subscription)
        else:
            lane.begin(first)
        self.reconcile(lane, subscription)

    def _first_offset(self, subscription: Subscription) -> int:
        """Where a lane without a row begins if its subscription is not new."""
        dispatched = self._partition.dispatched
        if self._worker.matching is None:
            return dispatched
        return max(dispatched, self._partition.beginnings.first_offset(subscription, dispatched))

    def _is_concerned(self, subscription: Subscription) -> bool:
        """Whether a command concerns this partition, in which the subscription has neither a lane nor a row."""
        # A time concerns every partition: producers have their own partitioners, and a topic that gains partitions does
        # not move its events.
        return any(
            isinstance(what, ReplayTimestamp) or (isinstance(what, ReplayOffset) and self._is_here(what))
            for what in (each.resume_from for each in subscription.commands)
        )

    def _is_here(self, place: ReplayOffset | Skip) -> bool:
        """Whether a command names this partition."""
        return place.partition == self._partition.number and place.topic in {None, self._worker.topic}

    def _forget(self, lane: Lane, again_from: int | None = None) -> None:
        """Give up the lane's events. Those from *again_from* on are not dropped: a new subscription gets them."""
        events = lane.events
        in_memory = [*events.in_flight, *(event.offset for event in events.queue)]
        read_again = 0 if again_from is None else sum(offset >= again_from for offset in in_memory)
        since, last = lane.first_waiting, self._partition.dispatched - 1
        given_up = lane.abandon() - read_again
        if given_up:
            self._worker.observer.dropped(
                "unknown-subscription",
                given_up,
                subscription=lane.name,
                topic=self._worker.topic,
                partition=self._partition.number,
                offset=last if again_from is None else min(last, again_from - 1),
                since=since,
            )
        if lane.events.progress.row is not None:
            logger.info(
                "subscription %s was deleted at %d of %s",
                lane.name,
                lane.events.progress.row.next,
                self._partition.name,
            )
            self._partition.rows.delete(lane)

    def reconcile(self, lane: Lane, subscription: Subscription) -> None:
        """Carry out the commands that the row has not recorded yet, in order; then apply the revision."""
        progress, now = lane.events.progress, self._worker.clock.now()
        for command in subscription.commands:
            if command.revision > progress.revision and not self._carry_out(_Order(lane, subscription, command)):
                # A row that is written meanwhile has to show that the subscription was known.
                lane.record_revision(command.revision - 1)
                if status_of(subscription, now) is not Status.STARTED:  # a pause or stop does not wait for the task
                    self._apply_desired_status(lane, subscription, now)
                return
        if subscription.revision > progress.revision:
            lane.record_revision(subscription.revision)
            self._resume(lane, subscription)
        self._apply_desired_status(lane, subscription, now)

    def _carry_out(self, order: _Order) -> bool:
        """Carry out a command, if it concerns this partition. False if a task does that, and then calls `reconcile`."""
        lane, command = order.lane, order.command
        match command.resume_from:
            case ReplayTimestamp() as replay:
                # A former owner may have delivered events after the committed offset before the command arrived.
                here = max(self._partition.dispatched, lane.first_waiting)
                self._spawn(order, partial(self._replay_from, order, replay, here))
                return False
            case ReplayOffset(_, offset, discards) as place if self._is_here(place):
                if discards and offset > lane.first_waiting:
                    self._spawn(order, partial(self._discard_to, order, offset))
                    return False
                lane.record_revision(command.revision)
                self._replay(lane, offset)
                self._resume(lane, order.subscription)
            case Skip(_, offset) as place if self._is_here(place):
                is_next = is_next_event(lane, offset, self._partition.dispatched)
                if is_next is None:
                    self._spawn(order, partial(self._skip_unread, order, offset))
                    return False
                self._skip(order, offset, is_next=is_next)
            case Skip() if command.revision == order.subscription.revision:
                self._pass_by(order)
        return True

    def _spawn(self, order: _Order, work: Callable[[], Coroutine[object, object, None]]) -> None:
        async def carry_out() -> None:
            await work()
            if order.lane.subscription is order.subscription and not self._partition.is_draining:
                self.reconcile(order.lane, order.subscription)

        self._partition.spawn(carry_out, order.lane)

    def _resume(self, lane: Lane, subscription: Subscription) -> None:
        """Clear FAILURE and end waits, because a new revision means "continue"."""
        lane.resume()
        self._record(lane, subscription)
        self._apply_desired_status(lane, subscription, self._worker.clock.now())

    def _pass_by(self, order: _Order) -> None:
        """Record a command that does not concern this lane or can't be carried out. It does not clear FAILURE."""
        order.lane.record_revision(order.command.revision)
        self._record(order.lane, order.subscription)
        self._apply_desired_status(order.lane, order.subscription, self._worker.clock.now())

    def _record(self, lane: Lane, subscription: Subscription) -> None:
        if lane.events.progress.row is not None:
            self._partition.rows.mark_stale(lane.key)
        elif self._is_concerned(subscription):
            # The committed offset has the lane's position, but only a row can record that the command was carried out.
            self._partition.rows.write(lane.key)

    # --------------------------------------------------------------- skips

    def _skip(self, order: _Order, offset: int, *, is_next: bool) -> None:
        lane, number = order.lane, self._partition.number
        if is_next:
            self._worker.observer.settled("skipped")
            self._worker.observer.dropped(
                "skipped", subscription=lane.name, topic=self._worker.topic, partition=number, offset=offset
            )
            lane.record_revision(order.command.revision)
            lane.skip(offset)
            self._resume(lane, order.subscription)
            return
        logger.warning(
            "subscription %s: not skipping %d of %s, which is not its next event or does not exist yet; "
            "its position stays %d",
            lane.name,
            offset,
            self._partition.name,
            lane.first_waiting,
        )
        self._pass_by(order)

    def _wanted_by(self, lane: Lane) -> bytes | Filter:
        """How to recognise the lane's events: by its key, or by a filter."""
        matching = self._worker.matching
        return lane.key if matching is None else lambda event: bool(matching.keys(event, (lane.key,)))

    async def _skip_unread(self, order: _Order, offset: int) -> None:
        """Skip the event if it is the lane's first one in the log. Events of other subscriptions may precede it."""
        lane, reader, number = order.lane, self._worker.reader, self._partition.number
        start, wanted = lane.first_waiting, self._wanted_by(lane)
        is_first = await reader.count(number, wanted, offset, offset + 1) == 1
        is_first = is_first and not await reader.count(number, wanted, start, offset)
        if not self._is_overtaken(order):
            self._skip(order, offset, is_next=is_first and lane.first_waiting <= offset)

    # --------------------------------------------------------------- replays

    def _replay(self, lane: Lane, offset: int) -> None:
        """Deliver again from *offset* on. Waiting events before it are never skipped."""
        here, where = lane.first_waiting, self._partition.name
        if offset <= here:
            logger.info("subscription %s: goes back to %d of %s from %d", lane.name, offset, where, here)
            lane.move(offset)
            return
        logger.warning(
            "subscription %s: stays at %d of %s: continuing from %d would discard the events that wait before "
            "it, which the command does not allow (discardWaiting)",
            lane.name,
            here,
            where,
            offset,
        )
        if offset < max([lane.events.progress.settled_to, *(offset + 1 for offset in lane.events.in_flight)]):
            lane.move(here)  # with several requests at a time, some events after *offset* were sent: send them again

    async def _replay_from(self, order: _Order, replay: ReplayTimestamp, here: int) -> None:
        """Continue from a time. Events from *here* on arrived after the command."""
        lane, reader, number = order.lane, self._worker.reader, self._partition.number
        end = await reader.end_of(number) if replay.discards else here
        offset = await reader.offset_at(number, replay.timestamp_ms)
        if replay.discards and (offset is None or offset > lane.first_waiting):
            await self._discard_to(order, end if offset is None else offset)
        elif not self._is_overtaken(order):
            lane.record_revision(order.command.revision)
            # Events that arrived after the command and are settled by now need not be delivered again.
            if offset is not None and (offset < here or lane.first_waiting < here):
                self._replay(lane, offset)
            self._resume(lane, order.subscription)

    async def _discard_to(self, order: _Order, offset: int) -> None:
        """Continue from *offset*, or from the end of the log if that is earlier. Discard waiting events before it."""
        lane, reader, number = order.lane, self._worker.reader, self._partition.number
        end = await reader.end_of(number)
        if self._is_overtaken(order):
            return
        lane.record_revision(order.command.revision)
        start, offset = lane.first_waiting, min(offset, end)
        if offset > start:
            logger.warning(
                "subscription %s: discards its events from %d up to %d of %s, as the command says",
                lane.name,
                start,
                offset,
                self._partition.name,
            )
            lane.move(offset)
        self._resume(lane, order.subscription)
        if offset > start:
            discarded = offset - start  # an upper bound, if there is no time to count
            try:
                discarded = await reader.count(number, self._wanted_by(lane), start, offset)
            finally:
                self._worker.observer.dropped(
                    "discarded",
                    discarded,
                    subscription=lane.name,
                    topic=self._worker.topic,
                    partition=number,
                    offset=offset - 1,
                    since=start,
                )

    def _is_overtaken(self, order: _Order) -> bool:
        """Whether a task must not carry out its command: it was carried out already, or a newer revision repeats it."""
        is_done = order.lane.events.progress.revision >= order.command.revision  # the revision was read twice
        return is_done or order.lane.subscription is not order.subscription or self._partition.is_draining

    def _apply_desired_status(self, lane: Lane, subscription: Subscription, now: float) -> None:
        worker, status = self._worker, status_of(subscription, now)
        if status is Status.STARTED:
            if lane.state.is_halted and lane.status is not Status.FAILURE:
                lane.resume()
        elif status is Status.FAILURE:
            cause = Cause("configuration", subscription.problem or "", None, now)
            if lane.status is not status:
                worker.observer.subscription_failed(subscription, worker.topic, self._partition.number, cause)
            lane.stop(status, cause)
        elif lane.status is not Status.FAILURE:
            lane.stop(status)
