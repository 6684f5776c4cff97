"""Faust's consumer thread and its rebalance listener, adapted; `consumer.py` has the rest of the integration.

The "thread" is a task of the worker's own event loop. So a fetch costs no switch between two loops, and cancelling
works as usual. The same loop sends the heartbeats. If it is blocked for longer than the session timeout, the worker
loses its partitions; the lease (core/lease.py) ends before that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.errors import (
    InvalidCommitOffsetSizeError,
    NoOffsetForPartitionError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import WorkerThread
from mode.utils.futures import maybe_async

from pipeline.core.lease import Lease
from pipeline.core.sources import Sources
from pipeline.kafka.committed import Committed, without_settled
from pipeline.kafka.internals import (
    client_of,
    coordinator_of,
    has_ended,
    has_error,
    keep_lease_of,
    pace_fetches,
    positions,
    set_fetch,
)
from pipeline.kafka.topics import IsolationLevel
from pipeline.runtime.log_checks import LogChecks
from pipeline.runtime.retrying_consumer import RetryingConsumerThread

logger = logging.getLogger(__name__)

FETCH_WAIT_MS = 100
"""How long a broker may hold an empty fetch.

Partitions with unprocessed records are not part of the fetch and have to wait until it ends. With a longer time, a busy
partition among idle ones would starve.
"""
SMALL_FETCH_EVENTS = 64
GATHER_SECONDS = 0.002
"""How long after a small fetch the next one is sent.

Without this pause, at a low rate of events, each fetch would return only a few of them, and fetches would be most of
the cost. The events of the small fetch do not wait, and the next fetch returns all events that have arrived in the
meantime.
"""
LEAVE_SECONDS = 5.0
"""How long a stop waits until the worker has left the group. If the worker can't leave, it counts as dead after the
session timeout."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the pipeline that Faust's consumer and its thread need.

    Attributes:
        sources: the partitions that are assigned to this worker.
        log_checks: compares committed offsets with the logs.
        lease: the lease, which heartbeats renew.
        isolation_level: the isolation level of the source topics.
        drain_seconds: how long requests under way may still take before a partition is given back.
    """

    sources: Sources
    log_checks: LogChecks
    lease: Lease
    isolation_level: IsolationLevel
    drain_seconds: float


class _Task:
    """Takes the place of the thread that Faust would start."""

    def __init__(self, service: "DeliveryConsumerThread") -> None:
        self._service = service
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = asyncio.get_running_loop().create_task(self._service._serve())  # noqa: SLF001 - as mode's thread does
        # The service reports its errors itself.
        self._serving.add_done_callback(lambda task: task.cancelled() or task.exception())

    def stop(self) -> None:
        """Do nothing: the service has stopped itself already."""


class DeliveryConsumerThread(RetryingConsumerThread):
    """Faust's consumer thread, with shorter fetches than Faust's 1.5 s, and a time limit for a stop.

    It renews the worker's lease whenever the group's coordinator confirms the worker's membership.
    """

    def __init__(self, *args: Any, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, thread_loop=loop, Worker=cast("type[WorkerThread]", _Task), **kwargs)
        self._out_of_range: dict[TP, int] = {}
        self._not_in_stream: dict[TP, int] = {}
        self._is_settled_refused = False
        self._fetched = 0

    @property
    def _parts(self) -> Parts:
        return cast("Parts", cast("Any", self.app).parts)

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call *fun* directly, without the queue that a real thread needs; returns the result."""
        return await maybe_async(fun(*args, **kwargs))

    async def on_thread_started(self) -> None:
        """Do not start the queue of `call_thread`, which is not used."""

    async def _keepalive2(self) -> None:
        """Do nothing. mode would log an error whenever the loop is blocked for three seconds.

        No report is needed, because the lease ends then.
        """

    async def _gather_remaining_tasks(self) -> None:
        """Do nothing: this is not a thread's own loop, so it also has the tasks of other services."""

    async def on_start(self) -> None:
        """Start, and renew the lease with every heartbeat. The first heartbeat follows the subscription to topics."""
        await super().on_start()
        if self._consumer is not None:
            keep_lease_of(self._consumer, self._parts.lease)
            pace_fetches(self._consumer, self._seconds_to_gather)

    def _seconds_to_gather(self) -> float:
        return GATHER_SECONDS if 0 < self._fetched < SMALL_FETCH_EVENTS else 0.0

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        set_fetch(consumer, wait_ms=FETCH_WAIT_MS, isolation_level=self._parts.isolation_level)
        consumer.commit = partial(self._commit_with_notes, consumer.commit)
        return consumer

    def commit_with_metadata(self, offsets: Mapping[TP, int], begun_to: Mapping[TP, int | None]) -> Awaitable[bool]:
        """Commit offsets of source topics with their metadata (log_check.py)."""
        with_metadata = {
            tp: OffsetAndMetadata(offset, self._metadata(tp, offset, begun_to.get(tp)))
            for tp, offset in offsets.items()
        }
        # Faust takes each value for an offset, and adds empty metadata.
        return self.commit(cast("Mapping[TP, int]", with_metadata))

    def _metadata(self, tp: TP, offset: int, begun_to: int | None) -> str:
        ahead = self._parts.sources[tp.topic].ahead_of(tp.partition, offset)
        return self._parts.log_checks[tp.topic].metadata(tp.partition, offset, ahead, begun_to)

    async def _commit_with_notes(
        self, commit: Callable[[Mapping[TP, OffsetAndMetadata]], Awaitable[None]], offsets: Mapping[TP, Any]
    ) -> None:
        """Commit the values of `commit_with_metadata`. If the broker refuses the notes, commit without them."""
        given = {tp: each.offset for tp, each in offsets.items()}
        with_metadata = {
            tp: each if isinstance(each, OffsetAndMetadata) else OffsetAndMetadata(each, "")
            for tp, each in given.items()
        }
        if not self._is_settled_refused:
            try:
                await commit(with_metadata)
            except (OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError) as error:
                self._is_settled_refused = True
                logger.warning(
                    "the broker allows too little metadata for notes of the events settled beyond an offset "
                    "(offset.metadata.max.bytes); committing without notes, so a crash repeats these events: %r",
                    error,
                )
            else:
                return
        await commit({tp: each._replace(metadata=without_settled(each.metadata)) for tp, each in with_metadata.items()})

    async def committed(self, tps: Iterable[TP]) -> dict[TP, Committed]:
        """The commits of the group for these partitions."""
        tps = list(tps)
        coordinator = coordinator_of(self._ensure_consumer())  # aiokafka's consumer omits the metadata
        found = await coordinator.fetch_committed_offsets([TopicPartition(*tp) for tp in tps])
        nothing = OffsetAndMetadata(-1, "")  # aiokafka omits partitions without an offset
        offsets = {tp: found.get(TopicPartition(*tp), nothing) for tp in tps}
        return {tp: Committed.read(each.offset, each.metadata) for tp, each in offsets.items()}

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's own signature
        max_records: int | None = None,
    ) -> Any:
        """Fetch like Faust, but first seek back to every batch that did not reach the stream."""
        self._seek_back(consumer)
        records = await self._fetch_in_range(consumer, active_partitions, timeout, max_records)
        self._not_in_stream = {tp: batch[0].offset for tp, batch in records.items() if batch}
        self._fetched = sum(map(len, records.values()))
        return records

    def reached_stream(self, tp: TP) -> None:
        """Record that the partition's batch of the last fetch has reached the stream."""
        self._not_in_stream.pop(tp, None)

    def _seek_back(self, consumer: Any) -> None:
        """Seek back to the batches of the last fetch that did not reach the stream.

        The consumer's position is past these batches. Faust discards a fetch or its result when it restarts its
        fetcher, or when partitions are reassigned during the fetch.
        """
        missing, self._not_in_stream = self._not_in_stream, {}
        for tp, offset in missing.items():
            position = positions(consumer, tp.topic).get(tp.partition)
            if position is not None and offset < position:
                consumer.seek(TopicPartition(tp.topic, tp.partition), offset)

    async def _fetch_in_range(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None,  # noqa: ASYNC109 - Faust's own signature
        max_records: int | None,
    ) -> Any:
        """Fetch. If an offset is out of range, `LogCheck.find_offset` decides what to do, not `auto.offset.reset`."""
        try:
            return await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except OffsetOutOfRangeError as error:
            tps: Mapping[TopicPartition, int] = error.args[0]
            topics = self._parts.sources.topics
            self._out_of_range |= {TP(*tp): at for tp, at in tps.items() if tp.topic in topics}
            others = [tp for tp in tps if tp.topic not in topics]
            if others:  # changelogs
                await consumer.seek_to_beginning(*others)
        except NoOffsetForPartitionError as error:
            # A source partition gets its position when it is opened. Until then aiokafka would fetch from no partition.
            await consumer.seek_to_beginning(*error.args)
        return {}

    def take_out_of_range(self) -> dict[TP, int]:
        """By source partition, the offset of each fetch that was out of range since the last call."""
        found, self._out_of_range = self._out_of_range, {}
        return found

    def highwater(self, tp: TP) -> int:
        """The end of the readable log, which is before the end of the log while a transaction is open."""
        stable = self._ensure_consumer().last_stable_offset(tp)
        if self._parts.isolation_level == "read_uncommitted" or stable is None or stable < 0:
            return super().highwater(tp)
        return int(stable)

    def topic_partitions(self, topic: str) -> int | None:
        """The number of partitions of a topic, None if unknown.

        Faust reads a snapshot in aiokafka's coordinator, which only some members of the group have.
        """
        found = None if self._consumer is None else self._consumer.partitions_for_topic(topic)
        return len(found) if found else None

    def positions(self, topic: str) -> dict[int, int]:
        """The offset at which the next fetch of each partition of a topic begins."""
        if self._consumer is None:
            return {}
        found = positions(self._consumer, topic)
        # The position is past a batch that did not reach the stream and will be fetched again.
        return {number: min(at, self._not_in_stream.get(TP(topic, number), at)) for number, at in found.items()}

    async def learn_partitions(self, counts: Mapping[str, int]) -> None:
        """Refresh the metadata if it has fewer partitions of a topic.

        The refresh makes the group's leader rebalance.
        """
        consumer = self._consumer  # a consumer that is not started yet reads the metadata when it starts
        if consumer is not None and any(
            len(consumer.partitions_for_topic(topic) or ()) < count for topic, count in counts.items()
        ):
            await client_of(consumer).force_metadata_update()

    @property
    def is_out_of_reach(self) -> bool:
        """See `membership.GroupMember`."""
        coordinator = None if self._consumer is None else coordinator_of(self._consumer)
        if coordinator is None:
            return True
        # aiokafka keeps looking for the coordinator, except after an error of the group itself.
        return coordinator.coordinator_id is None and not (has_ended(coordinator) or has_error(coordinator))

    def rejoin(self) -> None:
        """See `membership.GroupMember`."""
        if self._consumer is not None:
            coordinator_of(self._consumer).request_rejoin()

    async def on_thread_stop(self) -> None:
        """Leave the group within `LEAVE_SECONDS`. Without a broker, aiokafka may never return; Faust waits a minute."""
        leaving = asyncio.ensure_future(super().on_thread_stop())
        # In a separate task, because the driver may raise a CancelledError although nothing was cancelled.
        await asyncio.wait([leaving], timeout=LEAVE_SECONDS)
        if leaving.cancel() or leaving.cancelled() or leaving.exception() is not None:
            logger.warning("could not leave the group: its coordinator does not answer")


class DeliveryRebalanceListener(driver.ConsumerRebalanceListener):
    """Faust's listener, which counts every assignment as a new generation.

    If a member rejoins without a change, Kafka's generation stays the same, so records that were fetched before would
    look current.
    """

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Count the assignment, then do what Faust does."""
        app = self._thread.app
        app.consumer_generation_id += 1
        tps = {TP(tp.topic, tp.partition) for tp in assigned}
        await self._thread.on_partitions_assigned(tps, app.consumer_generation_id)
