"""Faust's consumer thread and its rebalance listener, adapted; `consumer.py` has the rest of the integration.

The "thread" is a task of the worker's own event loop: a fetch then costs no hop to another loop and back, and what
the worker cancels is cancelled. Heartbeats are sent by the same loop, so a loop that is blocked for longer than the
session timeout costs the worker its partitions; the lease (core/lease.py) ends before that.
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

from pipeline.core.dispatcher import Dispatcher
from pipeline.core.lease import Lease
from pipeline.kafka.internals import (
    client_of,
    coordinator_of,
    has_ended,
    has_error,
    keep_lease_of,
    positions,
    set_fetch,
)
from pipeline.kafka.topics import IsolationLevel
from pipeline.runtime.log_check import Committed, LogCheck, without_settled
from pipeline.runtime.retrying_consumer import RetryingConsumerThread

logger = logging.getLogger(__name__)

FETCH_WAIT_MS = 100
"""How long a broker may keep a fetch that finds nothing. A partition whose records were still waiting here when the
fetch was sent has no part in it and waits for its end, so that one busy partition among idle ones would starve."""
LEAVE_SECONDS = 5.0
"""How long a stop waits for the group; a worker that has not left it counts as dead after the session timeout."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What Faust's parts need of the pipeline.

    Attributes:
        dispatcher: of the partitions that are assigned to this worker.
        log_check: holds committed offsets against the log.
        lease: renewed by heartbeats.
        isolation_level: of the source topic.
        drain_seconds: how long requests under way may take to end before a partition is given back.
    """

    dispatcher: Dispatcher
    log_check: LogCheck
    lease: Lease
    isolation_level: IsolationLevel
    drain_seconds: float


class _Task:
    """What Faust takes for the thread."""

    def __init__(self, service: "DeliveryConsumerThread") -> None:
        self._service = service
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = asyncio.get_running_loop().create_task(self._service._serve())  # noqa: SLF001 - as mode's thread does
        # The service passes its errors on itself.
        self._serving.add_done_callback(lambda task: task.cancelled() or task.exception())

    def stop(self) -> None:
        """Nothing is left to do: the service has waited for its end."""


class DeliveryConsumerThread(RetryingConsumerThread):
    """Faust's consumer thread, whose fetches wait for a shorter time than Faust's 1.5 s, and whose end is bounded.

    It renews the worker's lease whenever the group's coordinator confirms the membership of the worker.
    """

    def __init__(self, *args: Any, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, thread_loop=loop, Worker=cast("type[WorkerThread]", _Task), **kwargs)
        self._out_of_range: dict[int, int] = {}
        self._unclaimed: dict[TP, int] = {}
        self._is_settled_refused = False

    @property
    def _seat(self) -> Seat:
        return cast("Seat", cast("Any", self.app).seat)

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call it here and now; a thread of its own would have a queue for this."""
        return await maybe_async(fun(*args, **kwargs))

    async def on_thread_started(self) -> None:
        """Do not start the queue."""

    async def _gather_remaining_tasks(self) -> None:
        """Leave all tasks of the loop alone; a thread's loop would have none but its own."""

    async def on_start(self) -> None:
        """Start, and observe every heartbeat; the first one follows the subscription to topics."""
        await super().on_start()
        if self._consumer is not None:
            keep_lease_of(self._consumer, self._seat.lease)

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        set_fetch(consumer, wait_ms=FETCH_WAIT_MS, isolation_level=self._seat.isolation_level)
        consumer.commit = partial(self._commit_with_notes, consumer.commit)
        return consumer

    def commit_noted(self, offsets: Mapping[TP, int]) -> Awaitable[bool]:
        """Commit offsets of the source topic, each with the topic's id and a note of what is settled beyond it."""
        dispatcher, check = self._seat.dispatcher, self._seat.log_check
        noted = {
            tp: OffsetAndMetadata(offset, check.note(tp.partition, offset, dispatcher.ahead_of(tp.partition, offset)))
            for tp, offset in offsets.items()
        }
        # Faust takes each of them for an offset, and adds metadata of its own: none.
        return self.commit(cast("Mapping[TP, int]", noted))

    async def _commit_with_notes(
        self, commit: Callable[[Mapping[TP, OffsetAndMetadata]], Awaitable[None]], offsets: Mapping[TP, Any]
    ) -> None:
        """Commit what `commit_noted` was given; without the notes if the broker refuses them."""
        given = {tp: each.offset for tp, each in offsets.items()}
        noted = {
            tp: each if isinstance(each, OffsetAndMetadata) else OffsetAndMetadata(each, "")
            for tp, each in given.items()
        }
        if not self._is_settled_refused:
            try:
                await commit(noted)
            except (OffsetMetadataTooLargeError, InvalidCommitOffsetSizeError) as error:
                self._is_settled_refused = True
                logger.warning(
                    "offsets are committed without a note of what is settled beyond them, and more is repeated after a "
                    "crash: the broker takes no metadata of that size (offset.metadata.max.bytes): %r",
                    error,
                )
            else:
                return
        await commit({tp: each._replace(metadata=without_settled(each.metadata)) for tp, each in noted.items()})

    async def committed(self, topic: str, numbers: Iterable[int]) -> dict[int, Committed]:
        """What the group has committed for these partitions."""
        tps = [TopicPartition(topic, number) for number in numbers]
        coordinator = coordinator_of(self._ensure_consumer())  # aiokafka's consumer leaves the metadata out
        found = await coordinator.fetch_committed_offsets(tps)
        nothing = OffsetAndMetadata(-1, "")  # aiokafka leaves out partitions without an offset
        offsets = {tp.partition: found.get(tp, nothing) for tp in tps}
        return {number: Committed.read(each.offset, each.metadata) for number, each in offsets.items()}

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's own signature
        max_records: int | None = None,
    ) -> Any:
        """As Faust does, but starting over from every batch that was not claimed."""
        self._seek_to_unclaimed(consumer)
        records = await self._fetch_in_range(consumer, active_partitions, timeout, max_records)
        self._unclaimed = {tp: batch[0].offset for tp, batch in records.items() if batch}
        return records

    def claim(self, tp: TP) -> None:
        """The partition's batch of the last fetch has reached the stream."""
        self._unclaimed.pop(tp, None)

    def _seek_to_unclaimed(self, consumer: Any) -> None:
        """Seek back to the batches that the last fetch returned and that did not reach the stream.

        The position is past them. Faust abandons a fetch, or what it has returned, when it restarts its fetcher or
        when the partitions are assigned anew meanwhile.
        """
        unclaimed, self._unclaimed = self._unclaimed, {}
        for tp, offset in unclaimed.items():
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
        """If an offset is out of range, `LogCheck.find_offset` decides what follows, and not `auto.offset.reset`."""
        try:
            return await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except OffsetOutOfRangeError as error:
            tps: Mapping[TopicPartition, int] = error.args[0]
            topic = self._seat.dispatcher.topic
            self._out_of_range |= {tp.partition: at for tp, at in tps.items() if tp.topic == topic}
            others = [tp for tp in tps if tp.topic != topic]
            if others:  # changelogs
                await consumer.seek_to_beginning(*others)
        except NoOffsetForPartitionError as error:
            # One of the source gets its place when it is opened; without any, aiokafka fetches of no partition.
            await consumer.seek_to_beginning(*error.args)
        return {}

    def take_out_of_range(self) -> dict[int, int]:
        """The partitions of the source of which a fetch was out of range since the last call, and from where it was."""
        found, self._out_of_range = self._out_of_range, {}
        return found

    def highwater(self, tp: TP) -> int:
        """The end of what may be read: with an open transaction it lies before the end of the log."""
        stable = self._ensure_consumer().last_stable_offset(tp)
        if self._seat.isolation_level == "read_uncommitted" or stable is None or stable < 0:
            return super().highwater(tp)
        return int(stable)

    def positions(self, topic: str) -> dict[int, int]:
        """Where the next fetch of each partition of a topic begins; nothing moves it but a fetch."""
        return {} if self._consumer is None else positions(self._consumer, topic)

    async def learn_partitions(self, topics: Iterable[str], count: int) -> None:
        """Read the cluster's metadata again if it shows fewer partitions of a topic, so that a leader rebalances."""
        consumer = self._consumer  # it reads the metadata when it starts, too
        if consumer is not None and any(len(consumer.partitions_for_topic(topic) or ()) < count for topic in topics):
            await client_of(consumer).force_metadata_update()

    @property
    def is_out_of_reach(self) -> bool:
        """See `membership.GroupMember`."""
        coordinator = None if self._consumer is None else coordinator_of(self._consumer)
        if coordinator is None:
            return True
        # It looks for a broker indefinitely, except after an error of the group itself.
        return coordinator.coordinator_id is None and not (has_ended(coordinator) or has_error(coordinator))

    def rejoin(self) -> None:
        """See `membership.GroupMember`."""
        if self._consumer is not None:
            coordinator_of(self._consumer).request_rejoin()

    async def on_thread_stop(self) -> None:
        """Leave the group. Without a broker aiokafka looks for one indefinitely, or fails, and Faust waits a minute."""
        leaving = asyncio.ensure_future(super().on_thread_stop())
        # In a task of its own, for the driver may let a cancellation out that is none.
        await asyncio.wait([leaving], timeout=LEAVE_SECONDS)
        if leaving.cancel() or leaving.cancelled() or leaving.exception() is not None:
            logger.warning("could not leave the group: its broker does not answer")


class DeliveryRebalanceListener(driver.ConsumerRebalanceListener):
    """Faust's listener, which counts every assignment as a new generation.

    Kafka's generation stays the same if a member rejoins and nothing has changed; records fetched before that would
    then look current.
    """

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """Count the assignment, then do what Faust does."""
        app = self._thread.app
        app.consumer_generation_id += 1
        tps = {TP(tp.topic, tp.partition) for tp in assigned}
        await self._thread.on_partitions_assigned(tps, app.consumer_generation_id)
