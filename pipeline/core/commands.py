"""Carries out commands in one partition: replays and skips (docs/design.md, Commands).

A command is part of a revision, and later revisions repeat it. The owner of a partition carries out each command once,
in order, and records this in the cursor row. `Reconciler` (reconcile.py) decides which commands are due.
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
from pipeline.core.pending import is_replay_in, names
from pipeline.core.ports import Home, PartitionServices
from pipeline.core.subscription import Command, ReplayOffset, ReplayTimestamp, Skip, Subscription

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class _Order:
    """A command to be carried out in a lane. The revision that was read may be later than the command's own."""

    lane: Lane
    subscription: Subscription
    command: Command

    def is_overtaken(self) -> bool:
        """Whether the command was carried out already, or a newer revision repeats it.

        A task must not carry it out then.
        """
        is_done = self.lane.events.progress.revision >= self.command.revision  # the revision was read twice
        return is_done or self.lane.subscription is not self.subscription or self.lane.is_draining


class Commands:
    """The commands of the subscriptions of one partition.

    Args:
        reconcile: called when a task has carried out a command, to continue with the next one.
    """

    def __init__(
        self, partition: LaneHolder, worker: PartitionServices, reconcile: Callable[[Lane, Subscription], None]
    ) -> None:
        self._partition = partition
        self._worker = worker
        self._reconcile = reconcile

    def concern(self, subscription: Subscription | None) -> bool:
        """Whether a command concerns this partition, in which the subscription has neither a lane nor a row."""
        if subscription is None or not subscription.commands:
            return False
        topic, number = self._worker.topic, self._partition.number
        return any(is_replay_in(each.resume_from, topic, number) for each in subscription.commands)

    def _is_here(self, target: ReplayOffset | Skip) -> bool:
        return names(target, self._worker.topic, self._partition.number)

    def carry_out(self, lane: Lane, subscription: Subscription, command: Command) -> bool:
        """Carry out a command, if it concerns this partition.

        Returns False if a task does it later, and then calls `reconcile`.
        """
        order = _Order(lane, subscription, command)
        match command.resume_from:
            case ReplayTimestamp() as target:
                # A former owner may have delivered events after the committed offset before the command arrived.
                here = max(self._partition.dispatched_to, lane.first_waiting)
                return self._start(order, partial(self._replay_from_time, order, target, here))
            case ReplayOffset(_, offset, discards) as target if self._is_here(target):
                if discards and offset > lane.first_waiting:
                    return self._start(order, partial(self._discard_to, order, offset))
                self._replay(order, offset)
            case Skip(_, offset) as target if self._is_here(target):
                is_next = self._is_next_event(lane, offset)
                if is_next is None:
                    return self._start(order, partial(self._skip_in_log, order, offset))
                self._skip(order, offset, is_next=is_next)
            case Skip() if command.revision == subscription.revision:
                self._pass_by(order)
        return True

    def _start(self, order: _Order, work: Callable[[], Coroutine[object, object, None]]) -> bool:
        """Carry out the command in a task. Returns False, the result of `carry_out`."""

        async def carry_out() -> None:
            await work()
            if order.lane.subscription is order.subscription and not self._partition.is_draining:
                self._reconcile(order.lane, order.subscription)

        self._partition.spawn(carry_out, order.lane)
        return False

    def resume(self, lane: Lane) -> None:
        """Clear FAILURE and end waits, as every new revision does. The lane then follows the wanted status."""
        lane.resume()
        self._write_or_mark_row(lane)
        lane.follow_wanted_status()

    def _pass_by(self, order: _Order) -> None:
        """Record a command that does not concern this lane or can't be carried out. It does not clear FAILURE."""
        order.lane.record_revision(order.command.revision)
        self._write_or_mark_row(order.lane)
        order.lane.follow_wanted_status()

    def _write_or_mark_row(self, lane: Lane) -> None:
        if lane.events.progress.row is not None:
            self._partition.rows.mark_stale(lane.key)
        elif self.concern(lane.subscription):
            # The lane's position is the committed offset, but only a row can record that the command was carried out.
            self._partition.rows.write(lane.key)

    # --------------------------------------------------------------- skips

    def _is_next_event(self, lane: Lane, offset: int) -> bool | None:
        """Whether the lane's next event is at *offset*.

        None if only the log shows it: the cursor of a lane that is not live may be at an event of another subscription.
        """
        first, dispatched_to = lane.first_waiting, self._partition.dispatched_to
        if lane.state is LaneState.LIVE or not first <= offset < dispatched_to:
            return offset == first < dispatched_to
        is_known = lane.events.has(first) or (lane.cause is not None and lane.cause.offset == first)
        return offset == first if is_known else None

    def _skip(self, order: _Order, offset: int, *, is_next: bool) -> None:
        """Skip the event at *offset*, but only if it is the next one."""
        lane = order.lane
        if is_next:
            self._worker.observer.settled("skipped")
            lane.report_dropped("skipped", offset)
            lane.record_revision(order.command.revision)
            lane.skip(offset)
            self.resume(lane)
            return
        logger.warning(
            "subscription %s: not skipping offset %d of %s: this is not its next event, or does not exist yet; "
            "its position stays %d",
            lane.name,
            offset,
            self._partition.name,
            lane.first_waiting,
        )
        self._pass_by(order)

    async def _skip_in_log(self, order: _Order, offset: int) -> None:
        """Skip the event if it is the first event of the lane in the log.

        Events of other subscriptions may precede it.
        """
        lane = order.lane
        start = lane.first_waiting
        is_first = await self._count(lane, offset, offset + 1) == 1 and not await self._count(lane, start, offset)
        if not order.is_overtaken():
            self._skip(order, offset, is_next=is_first and lane.first_waiting <= offset)

    async def _count(self, lane: Lane, start: int, end: int) -> int:
        """The number of the lane's events in the log from *start* up to *end*."""
        worker = self._worker
        return await worker.reader.count(self._partition.number, lane.key, start, end, worker.matching)

    # --------------------------------------------------------------- replays

    def _replay(self, order: _Order, offset: int) -> None:
        order.lane.record_revision(order.command.revision)
        self._go_back_to(order.lane, offset)
        self.resume(order.lane)

    async def _replay_from_time(self, order: _Order, target: ReplayTimestamp, here: int) -> None:
        """Continue from a time. All events from the offset *here* on arrived after the command."""
        lane, reader, number = order.lane, self._worker.reader, self._partition.number
        end = await reader.end_of(number) if target.discards else here
        offset = await reader.offset_at(number, target.timestamp_ms)
        if target.discards and (offset is None or offset > lane.first_waiting):
            await self._discard_to(order, end if offset is None else offset)
        elif not order.is_overtaken():
            lane.record_revision(order.command.revision)
            # Events that arrived after the command and are settled by now need not be delivered again.
            if offset is not None and (offset < here or lane.first_waiting < here):
                self._go_back_to(lane, offset)
            self.resume(lane)

    def _go_back_to(self, lane: Lane, offset: int) -> None:
        """Deliver again from *offset* on. Waiting events before *offset* are not skipped."""
        here, where = lane.first_waiting, self._partition.name
        if offset <= here:
            logger.info("subscription %s: goes back to offset %d of %s from %d", lane.name, offset, where, here)
            lane.move(offset)
            return
        logger.warning(
            "subscription %s: stays at offset %d of %s: continuing from %d would discard waiting events, "
            "which the command does not allow (discardWaiting)",
            lane.name,
            here,
            where,
            offset,
        )
        if offset < max([lane.events.progress.settled_to, *(offset + 1 for offset in lane.events.in_flight)]):
            # With several requests at a time, some events after *offset* may have been sent already: send them again.
            lane.move(here)

    async def _discard_to(self, order: _Order, offset: int) -> None:
        """Continue from *offset*, or from the end of the log if that is earlier. Discard waiting events before it."""
        lane = order.lane
        end = await self._worker.reader.end_of(self._partition.number)
        if order.is_overtaken():
            return
        lane.record_revision(order.command.revision)
        start, offset = lane.first_waiting, min(offset, end)
        if offset <= start:
            self.resume(lane)
            return
        logger.warning(
            "subscription %s: discards its events from offset %d up to %d of %s, as the command allows",
            lane.name,
            start,
            offset,
            self._partition.name,
        )
        lane.move(offset)
        self.resume(lane)
        discarded = offset - start  # an upper bound, if counting takes too long
        try:
            discarded = await self._count(lane, start, offset)
        finally:
            lane.report_dropped("discarded", offset - 1, discarded, since=start)
