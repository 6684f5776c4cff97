"""A worker's partitions of one topic: opens them after an assignment, feeds them, reports commits, closes them.

The overrides of Faust's consumer (runtime/consumer.py) call it; it is independent of Faust and Kafka.

    assigned ──open: fence, load rows──▶ open ──drain: attempts end, rows become durable──▶ committed, closed
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pipeline.core.clock import Clock, steady_now
from pipeline.core.delivery import Delivery
from pipeline.core.errors import BrokerError, FencedError
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Event, Row, UnreadableRow
from pipeline.core.observer import Observer
from pipeline.core.opening import Opening
from pipeline.core.partition import Partition
from pipeline.core.ports import Behind, Flow, LaneLimits, Matching, Reader, Registry, RowStore
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.subscription import Subscription

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0
HOLD_CHECKS = 4
"""The minimum number of checks per `hold_seconds`. An event may be held longer, by at most the time between two."""
SHORTEST_PAUSE_SECONDS = 0.01
"""The shortest pause between two checkpoints, even with a shorter `hold_seconds`."""
SWEEP_CHECKPOINTS = 30
OPEN_PAUSE_SECONDS = 1.0
STREAMING_SECONDS = 1.0
"""For how long after a batch the stream counts as busy (`is_streaming`)."""
PRESSURE_CHECK_SECONDS = 0.25
"""How often the paused partitions are checked."""


class Dispatcher:
    """The partitions of one source topic that this worker owns.

    Args:
        deliver: the steps of a delivery.
        rows_of: creates the row store of a partition, whose log has these bounds.
        registry: the subscriptions.
        reader: reads the log again.
        memory: counts the bytes in all queues of the worker.
        on_closed: called with each partition that this worker no longer owns.
        matching: finds the subscriptions that an event matches; `Sources` keeps it up to date. None with
            `routing: key`.

    Attributes:
        flow: pauses the stream of a partition; set before the first partition is opened.
        peers: the dispatchers of all source topics. They share the memory.
        streamed_at: when the stream last delivered a batch, in seconds of `steady_now`.
    """

    def __init__(
        self,
        topic: str,
        *,
        deliver: Delivery,
        rows_of: Callable[[int, LogBounds], RowStore],
        registry: Registry,
        reader: Reader,
        limits: LaneLimits,
        memory: QueueMemory,
        on_closed: Callable[[int], None],
        matching: Matching | None,
    ) -> None:
        self.topic = topic
        self.deliver = deliver
        self.clock: Clock = deliver.clock
        self.observer: Observer = deliver.observer
        self.registry = registry
        self.reader = reader
        self.matching = matching
        self.limits = limits
        self.flow: Flow | None = None
        self.peers: Sequence[Dispatcher] = (self,)
        self.assigned: frozenset[int] = frozenset()
        self.assigned_at = 0.0
        self.has_opened = False
        self.memory = memory
        self.probes = deliver.probes
        self.chance = deliver.chance
        self._rows_of = rows_of
        self._created: dict[str, int] = {}  # with matching: known subscriptions, and the revision that created each
        self._on_closed = on_closed
        self._open: dict[int, Partition] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._lost: set[asyncio.Task[None]] = set()
        self._fenced: set[int] = set()
        self._checkpoints = 0
        self.streamed_at = -math.inf

    # --------------------------------------------------------------- the stream

    def dispatch(self, number: int, events: Sequence[Event]) -> None:
        """Dispatch a batch of one partition to its lanes. Does no I/O; an event can't make it raise an exception."""
        partition = self._open.get(number)
        if partition is None:
            # The partition was revoked after the fetch. The batch was not committed, so the next owner reads it again.
            return
        self.streamed_at = steady_now()
        partition.dispatch(events)
        if self.memory.is_over_its_bound:
            self._relieve()

    def pass_over(self, number: int, batch_end: int | None, end: int) -> bool:
        """Advance to *end*, because the log has no event from *batch_end* up to *end*.

        Returns whether the partition has advanced. *batch_end* is the end of the last batch or gap. Does nothing until
        the last batch has been dispatched.
        """
        partition = self._open.get(number)
        if partition is None or batch_end is None or not partition.dispatched_to == batch_end < end:
            return False
        partition.pass_over(end)
        return True

    @property
    def is_streaming(self) -> bool:
        """See `ports.PartitionServices`."""
        return steady_now() - max(peer.streamed_at for peer in self.peers) < STREAMING_SECONDS

    def _relieve(self) -> None:
        """Make the lanes with the largest queues fall behind until half of the memory is free."""
        partitions = (partition for peer in self.peers for partition in peer.partitions())
        lanes = [lane for partition in partitions for lane in partition.lanes.values() if lane.events.queue]
        lanes.sort(key=lambda lane: lane.events.queue.bytes, reverse=True)
        for lane in lanes:
            if self.memory.is_half_free:
                return
            lane.go_behind()

    def pause(self, number: int) -> None:
        """See `ports.PartitionServices`."""
        if self.flow is not None:
            self.flow.pause_source(self.topic, number)

    def resume(self, number: int) -> None:
        """See `ports.PartitionServices`."""
        if self.flow is not None:
            self.flow.resume_source(self.topic, number)

    def is_open(self, number: int) -> bool:
        """Whether events of the partition may be dispatched."""
        return number in self._open

    def partitions(self) -> list[Partition]:
        """The open partitions, by number."""
        return [self._open[number] for number in sorted(self._open)]

    # --------------------------------------------------------------- committing

    def offsets_to_commit(self) -> dict[int, int]:
        """The offsets to commit, by partition."""
        return {
            number: partition.window.committable
            for number, partition in self._open.items()
            if partition.window.committable != partition.committed
            or partition.window.has_news
            or (self.matching is not None and self._begun_to(partition) != partition.begun_to)
        }

    def _begun_to(self, partition: Partition) -> int:
        return partition.beginnings.begun_to(self.registry.read_to)

    def begun_to(self, number: int) -> int | None:
        """The revision to commit with an offset: subscriptions created before it have begun (beginnings.py)."""
        partition = self._open.get(number)
        if partition is None:
            return None
        # With `routing: key`, commits repeat the last revision that was committed with `match`, so that no subscription
        # begins a second time if the definition returns to `match`.
        return (partition.begun_to or None) if self.matching is None else self._begun_to(partition)

    def ahead_of(self, number: int, offset: int) -> int:
        """The settled events after the *offset* to commit, as bits for the note of the commit (ahead.py)."""
        partition = self._open.get(number)
        return 0 if partition is None else partition.window.ahead_of(offset)

    def committed(self, offsets: Mapping[int, int], begun_to: Mapping[int, int | None]) -> int:
        """Record that these offsets and revisions were committed. Returns by how many offsets the commits advanced."""
        advanced = 0
        for number, offset in offsets.items():
            partition = self._open.get(number)
            if partition is not None:
                former, partition.committed = partition.committed, offset
                partition.begun_to = begun_to.get(number) or 0
                advanced += 0 if former is None else offset - former
            self.observer.committed(self.topic, number, offset)
        return advanced

    # --------------------------------------------------------------- opening

    async def open(self, positions: Mapping[int, int], logs: Mapping[int, LogBounds]) -> None:
        """Open the partitions of an assignment, each at its position, in parallel. Retries until all are open.

        Offsets in rows are compared with the *logs*. Partitions that are revoked before they are open are skipped.
        """
        self.assigned = frozenset(positions)
        self.assigned_at = steady_now()
        self._fenced.clear()
        await self.registry.ready()
        if any(log.begun_to > self.registry.read_to for log in logs.values()):
            # The former owner may have read more of the subscriptions' topic. This worker must know all subscriptions
            # that have begun.
            await self.registry.caught_up()
        tasks = []
        for number, position in positions.items():
            if number in self.assigned and number not in self._open:
                task = asyncio.get_running_loop().create_task(self._open_one(number, position, logs[number]))
                self._opening[number] = task
                tasks.append(task)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):  # a CancelledError means that the partition was revoked
                raise result
        self.has_opened = True

    async def _open_one(self, number: int, position: int, log: LogBounds) -> None:
        try:
            opened = await self._fence_and_load(number, log)
            if opened is None:
                return
            store, rows = opened
            # If someone has changed the group's offsets, all known subscriptions count as begun.
            log = replace(log, begun_to=min(log.begun_to, self.registry.read_to))
            self._open[number] = partition = Partition(number, position, self, store, log)
            if log.commit_break is not None:
                self.observer.log_broken(self.topic, number, log.commit_break)
            Opening(partition, self, log).restore(rows, self.registry.all())
        finally:
            self._opening.pop(number, None)

    async def _fence_and_load(self, number: int, log: LogBounds) -> tuple[RowStore, Mapping[bytes, Row]] | None:
        """The store of the partition's rows, and the rows in it; None if the partition has a newer owner."""
        while True:
            store = self._rows_of(number, log)
            try:
                return store, await self._load(store)
            except FencedError:
                logger.warning("partition %d of %s already has a newer owner", number, self.topic)
                self._fenced.add(number)  # only the group knows whether there is a newer owner
                return None
            except BrokerError as error:
                self.observer.not_opened(self.topic, number, str(error))
            except Exception:  # after any error, an owned partition still has to be opened
                logger.exception("partition %d of %s could not be opened; trying again", number, self.topic)
            await self.clock.sleep(OPEN_PAUSE_SECONDS)

    async def _load(self, store: RowStore) -> Mapping[bytes, Row]:
        """Open the store and return its rows. If the rows can't be read, the store is closed again."""
        try:
            rows, read_to = await store.open(), self.registry.read_to
            if any(isinstance(row, UnreadableRow) or row.revision >= read_to for row in rows.values()):
                # The former owner may have read more of the subscriptions' topic. Until this worker has read as much, a
                # row may seem to have no subscription.
                await self.registry.caught_up()
        except BaseException:
            await store.close()
            raise
        return rows

    # --------------------------------------------------------------- closing

    async def drain(self, numbers: Iterable[int], seconds: float) -> dict[int, int]:
        """Drain partitions (`Partition.drain`). Returns the offsets to commit."""
        numbers = list(numbers)
        opening = [task for number, task in self._opening.items() if number in numbers]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        partitions = {number: self._open[number] for number in numbers if number in self._open}
        offsets = await asyncio.gather(*(partition.drain(seconds) for partition in partitions.values()))
        return dict(zip(partitions, offsets, strict=True))

    def close(self, numbers: Iterable[int]) -> Awaitable[None]:
        """Close partitions. `is_open` is False from the call on. Rows remain in Kafka."""
        numbers = list(numbers)
        self.assigned -= set(numbers)
        return self._close([self._open.pop(number) for number in numbers if number in self._open])

    async def _close(self, partitions: Iterable[Partition]) -> None:
        await asyncio.gather(*map(self._close_one, partitions))
        await asyncio.gather(*self._lost, return_exceptions=True)

    async def _close_one(self, partition: Partition) -> None:
        self.reader.forget(partition)
        await partition.close()
        await partition.store.close()
        self._on_closed(partition.number)

    def lost(self, partition: Behind) -> None:
        """See `ports.PartitionServices`. Closes the partition; none of its offsets are committed any more."""
        found = self._open.get(partition.number)
        if found is not partition:
            return
        logger.warning(
            "partition %d of %s lost: Kafka has fenced the cursor rows of this worker",
            partition.number,
            self.topic,
        )
        self.observer.partition_lost(self.topic, partition.number)
        del self._open[partition.number]
        self._fenced.add(partition.number)
        task = asyncio.get_running_loop().create_task(self._close_one(found))
        self._lost.add(task)
        task.add_done_callback(self._lost.discard)

    def fenced(self) -> list[int]:
        """Partitions that Kafka has fenced although they are still assigned to this worker (runtime/membership.py)."""
        return sorted(self._fenced & self.assigned)

    # --------------------------------------------------------------- time and subscriptions

    async def keep_checkpoints(self) -> None:
        """Until cancelled, make slow lanes fall behind, refresh rows and forget idle lanes."""
        pause = max(SHORTEST_PAUSE_SECONDS, min(CHECKPOINT_SECONDS, self.limits.hold_seconds / HOLD_CHECKS))
        due = steady_now() + pause
        while True:
            await self.clock.sleep(min(pause, PRESSURE_CHECK_SECONDS))
            if steady_now() >= due:
                self.checkpoint()
                due = steady_now() + pause
            else:
                self.relieve_pressed()

    def checkpoint(self) -> None:
        """One round of `keep_checkpoints`."""
        self._checkpoints += 1
        for partition in list(self._open.values()):
            partition.checkpoint()
            if self._checkpoints % SWEEP_CHECKPOINTS == 0:
                partition.sweep()

    def relieve_pressed(self) -> None:
        """In paused partitions, make lagging lanes fall behind, so that the other lanes can continue."""
        for partition in list(self._open.values()):
            if partition.is_paused:
                partition.end_holding(steady_now())

    def on_subscription(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Handle a change of a subscription. `matching` contains the change already."""
        is_new = self.matching is not None and self._is_new(subscription_id, subscription)
        for partition in list(self._open.values()):
            partition.reconciler.update(subscription_id, subscription, is_new=is_new)

    def _is_new(self, subscription_id: str, subscription: Subscription | None) -> bool:
        """Whether this is a creation, not an edit: the id was unknown, or belonged to a deleted subscription."""
        if subscription is None:
            self._created.pop(subscription_id, None)
            return False
        former = self._created.get(subscription_id)
        self._created[subscription_id] = subscription.created
        if former is None:
            return True
        # An unreadable record does not say when its subscription was created, so it counts as an edit: the events wait.
        is_unreadable = subscription.problem is not None and subscription.starts is None
        return subscription.created > former and not is_unreadable
