"""Opens a partition: restores lanes from the former owner's rows, and applies changes that this owner had not read."""

import logging
from collections.abc import Iterable, Mapping

from pipeline.core.beginnings import is_of_former
from pipeline.core.log_bounds import LogBounds, find_break
from pipeline.core.model import Cause, Cursor, Row, Status, UnreadableRow
from pipeline.core.partition import Partition
from pipeline.core.ports import PartitionServices
from pipeline.core.subscription import Subscription

logger = logging.getLogger(__name__)


def moved(row: Cursor, offset: int) -> Cursor:
    """*row* with another offset, but without the tries, which belong to the event at the old offset."""
    return Cursor(offset, row.status, row.cause, revision=row.revision)


class Opening:
    """Opens one partition. Offsets in rows that are not valid in its *log* are replaced by valid ones."""

    def __init__(self, partition: Partition, worker: PartitionServices, log: LogBounds) -> None:
        self._partition = partition
        self._reconciler = partition.reconciler
        self._worker = worker
        self._log = log

    def restore(self, rows: Mapping[bytes, Row], subscriptions: Iterable[Subscription]) -> None:
        """Restore the lanes from the rows, and apply subscriptions and commands that the former owner had not read."""
        for key, row in rows.items():
            if isinstance(row, Cursor):
                self._restore_lane(key, row)
            else:
                self._fail_unreadable(key, row)
        matches, lanes = self._worker.matching is not None, self._partition.lanes
        for subscription in subscriptions:
            if matches and subscription.created >= self._log.begun_to and subscription.id.encode() not in lanes:
                self._reconciler.begin(subscription)
            elif subscription.commands:
                self._reconciler.update(subscription.id, subscription)

    def _restore_lane(self, key: bytes, row: Cursor) -> None:
        lane = self._reconciler.make_lane(key, row.next)
        subscription = None if lane.name is None else self._worker.registry.get(lane.name)
        if subscription is None:
            is_outdated = row.revision >= 0
        else:
            is_outdated = self._worker.matching is not None and is_of_former(row, subscription)
        if is_outdated:
            logger.warning(
                "subscription %s was deleted%s: discarding its former cursor at offset %d of %s",
                lane.name,
                "" if subscription is None else " and created again",
                row.next,
                self._partition.name,
            )
            self._partition.rows.delete(lane)
            return
        self._partition.lanes[key] = lane
        self._reconciler.configure(lane, subscription)
        found = find_break(row.next, row.topic_id, self._log)
        if found is None:
            lane.restore(row, self._partition.dispatched_to)
        else:
            self._worker.observer.log_broken(self._worker.topic, self._partition.number, found, subscription=lane.name)
            lane.restore(moved(row, found.goes_on_at), self._partition.dispatched_to)
            self._partition.rows.write(lane.key)
        if subscription is not None:
            self._reconciler.reconcile(lane, subscription)

    def _fail_unreadable(self, key: bytes, row: UnreadableRow) -> None:
        """Put the lane into FAILURE, because its row can't be read, and replace the row."""
        partition = self._partition
        offset = partition.dispatched_to if row.next is None else row.next
        found = find_break(offset, None, self._log)
        if found is not None:
            offset = found.goes_on_at
        lane = self._reconciler.make_lane(key, offset)
        subscription = None if lane.name is None else self._worker.registry.get(lane.name)
        if subscription is None:
            logger.warning(
                "deleting the unreadable row %.100r of %s, which belongs to no known subscription: %s",
                key,
                partition.name,
                row.reason,
            )
            partition.rows.delete(lane)
            return
        if found is not None:
            self._worker.observer.log_broken(self._worker.topic, partition.number, found, subscription=lane.name)
        partition.lanes[key] = lane
        self._reconciler.configure(lane, subscription)
        # It is unknown whether earlier commands were carried out, so none of them is carried out here.
        lane.record_revision(subscription.revision)
        unknown = "position" if row.next is None else "status"
        message = (
            f"its cursor row can't be read: {row.reason}; the {unknown} is unknown, so the lane waits at {offset}; a "
            "resume continues there, and a replay can deliver earlier events"
        )
        cause = Cause("cursor", message, None, self._worker.clock.now())
        lane.move(offset)
        lane.stop(Status.FAILURE, cause)
        self._worker.observer.subscription_failed(subscription, self._worker.topic, partition.number, cause)
