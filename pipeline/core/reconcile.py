"""Makes the lanes of one partition follow their subscriptions (docs/design.md, Commands).

Each partition has one `Reconciler`. The dispatcher calls it for every change of a subscription. commands.py carries out
the commands that a revision contains.
"""

import logging

from pipeline.core.commands import Commands, LaneHolder
from pipeline.core.lane import Lane
from pipeline.core.model import Status
from pipeline.core.policy import UNKNOWN_RULES, Rules
from pipeline.core.ports import PartitionServices
from pipeline.core.subscription import Subscription

logger = logging.getLogger(__name__)


class Reconciler:
    """Applies revisions of subscriptions to the lanes of a partition."""

    def __init__(self, partition: LaneHolder, worker: PartitionServices) -> None:
        self._partition = partition
        self._worker = worker
        self._commands = Commands(partition, worker, self.reconcile)
        self._scheduled: dict[Lane, None] = {}  # lanes whose subscription has a `startingAt` or an `endingAt`

    def keep_time(self) -> None:
        """Begin and end subscriptions at their `startingAt` and `endingAt`."""
        for lane in list(self._scheduled):
            lane.follow_wanted_status()

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
        if subscription is not None:
            if self._worker.matching is not None:
                lane.begin(max(start, self._partition.beginnings.first_offset(subscription, start)))
            # Commands for this partition were carried out when it was opened, or when they arrived.
            lane.record_revision(subscription.revision)
            lane.follow_wanted_status()
        return lane

    def configure(self, lane: Lane, subscription: Subscription | None) -> None:
        """Configure the lane for a revision of its subscription; None if there is no subscription."""
        former, matches = lane.subscription, self._worker.matching is not None
        if matches and former is not None and (subscription is None or former.filter != subscription.filter):
            lane.events.in_log.forget(self._partition.dispatched_to)  # the count was made with the former filter
        if subscription is None:
            lane.configure(None, UNKNOWN_RULES)
            return
        if matches:
            # The lane's rows must not be mistaken for rows of a deleted subscription with this id (`is_of_former`).
            lane.record_revision(max(lane.events.progress.revision, subscription.created - 1))
        has_dead_letters = self._worker.deliver.dead_letters is not None
        rules = Rules(subscription.qos, subscription.retry, subscription.interrupt, has_dead_letters)
        lane.configure(subscription, rules)
        if subscription.starting_at is not None or subscription.ending_at is not None:
            self._scheduled[lane] = None
        else:
            self._scheduled.pop(lane, None)

    def update(self, subscription_id: str, subscription: Subscription | None, *, is_new: bool = False) -> None:
        """Apply a new revision; None if the subscription was deleted.

        With `routing: match`, *is_new* says that the subscription was not known before.
        """
        partition, key = self._partition, subscription_id.encode()
        lane = partition.lanes.get(key)
        # If the subscription was created before `begun_to`, it has begun, and this is an edit that was written after a
        # deletion.
        if is_new and subscription is not None and subscription.created >= partition.begun_to:
            if lane is not None:  # the lane of a deleted subscription with this id, or of earlier events
                self._forget(lane, partition.beginnings.first_offset(subscription, partition.dispatched_to))
            self.begin(subscription)
            return
        if lane is None:
            if subscription is None or not self._commands.concern(subscription):
                return
            lane = partition.lanes[key] = self.make_lane(key, self._first_offset(subscription))
        self.configure(lane, subscription)
        if subscription is None:
            self._forget(lane)
        else:
            self.reconcile(lane, subscription)

    def begin(self, subscription: Subscription) -> None:
        """Begin a subscription that has no row: at its first offset, which the stream may have passed already."""
        partition, key = self._partition, subscription.id.encode()
        first = partition.beginnings.first_offset(subscription, partition.dispatched_to)
        is_behind = first < self._passed_to(subscription)
        lane = partition.lanes.get(key)
        if lane is None:
            if not (is_behind or self._commands.concern(subscription)):
                return  # its first event makes its lane
            lane = partition.lanes[key] = self.make_lane(key, first)
        self.configure(lane, subscription)
        if is_behind:
            logger.info("subscription %s: begins at offset %d of %s", lane.name, first, partition.name)
            lane.move(first)
            partition.beginnings.began_behind(lane, subscription)
        else:
            lane.begin(first)
        self.reconcile(lane, subscription)

    def _passed_to(self, subscription: Subscription) -> int:
        """A subscription without a row can begin live only at this offset or later.

        The former owner's note does not include a subscription that has just been created. So its lane begins behind,
        with a row, because lanes with a row ignore notes.
        """
        dispatched_to = self._partition.dispatched_to
        return dispatched_to if subscription.starts is None else max(dispatched_to, self._partition.window.noted_to)

    def _first_offset(self, subscription: Subscription) -> int:
        """Where a lane without a row begins, if its subscription is not new."""
        dispatched_to = self._partition.dispatched_to
        if self._worker.matching is None:
            return dispatched_to
        return max(dispatched_to, self._partition.beginnings.first_offset(subscription, dispatched_to))

    def _forget(self, lane: Lane, again_from: int | None = None) -> None:
        """Give up the lane's events, and delete its row. The outcomes of requests under way no longer count.

        Events in memory count as dropped, except those from *again_from* on, which a new subscription gets.
        """
        dispatched_to, since = self._partition.dispatched_to, lane.first_waiting
        end = dispatched_to if again_from is None else min(dispatched_to, again_from)
        in_memory = [*lane.events.in_flight, *(event.offset for event in lane.events.queue)]
        read_again = sum(offset >= end for offset in in_memory)
        given_up = lane.abandon() - read_again
        if given_up:
            lane.report_dropped("unknown-subscription", end - 1, given_up, since=since)
        row = lane.events.progress.row
        if row is not None:
            logger.info("subscription %s was deleted at offset %d of %s", lane.name, row.next, self._partition.name)
            self._partition.rows.delete(lane)

    def reconcile(self, lane: Lane, subscription: Subscription) -> None:
        """Carry out the commands that the row has not recorded yet, in order; then apply the revision."""
        progress = lane.events.progress
        for command in subscription.commands:
            if command.revision > progress.revision and not self._commands.carry_out(lane, subscription, command):
                # A row that is written while a task carries out a command has to show that the subscription was known.
                lane.record_revision(command.revision - 1)
                if lane.wanted_status is not Status.STARTED:  # a pause or a stop takes effect before the task has ended
                    lane.follow_wanted_status()
                return
        if subscription.revision > progress.revision:
            lane.record_revision(subscription.revision)
            self._commands.resume(lane)
        lane.follow_wanted_status()
