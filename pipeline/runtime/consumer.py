"""The integration with Faust: how its consumer is changed (docs/design.md, On top of Faust).

Faust's tracking of acknowledgements is not used for the source topics: the windows decide what may be committed.

    getmany                makes one message of all records of the source topics that a fetch returns
    _drain_messages        passes messages from fetch to stream, without a task for each
    _keep_committing       commits the offsets of the source topics; Faust commits its other topics
    on_partitions_revoked  drains partitions, writes rows, commits, closes; then runs Faust's part

Faust creates its transport, consumer, thread and rebalance listener itself, in private methods that are overridden
(application.py, consumer_thread.py). If a method were not called, Faust would silently use its own class; PATCHES
(application.py) lists the consequences. These private names are only read, so their absence would raise an error:

    _wait_next_records, _to_message            used by `getmany`
    _read_offset                               for dropping records of changelogs that were read already
    _thread                                    the consumer thread
    _active_partitions, _buffered_partitions   for pausing one partition while the others continue
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import ServiceT

from pipeline.core.sources import Sources, TopicPartition
from pipeline.runtime.commit_pace import LONGEST_SECONDS, pause_after
from pipeline.runtime.consumer_thread import DeliveryConsumerThread, DeliveryRebalanceListener, Parts

logger = logging.getLogger(__name__)

FETCH_SECONDS = 1.0
"""How long an empty fetch waits, as in Faust."""
PAUSED_POLL_SECONDS = 0.02
"""How long a fetch waits while a partition is paused. When the partition resumes, this is the longest delay of its
events."""
LAST_COMMIT_SECONDS = 10.0
"""How long a drain waits for the last commit. If the commit fails, events are repeated, but no event is lost."""


class DeliveryConsumer(driver.Consumer):
    """Faust's consumer with the changes listed above."""

    RebalanceListener: ClassVar[type[driver.ConsumerRebalanceListener]] = DeliveryRebalanceListener
    app: Any  # DeliveryApp, which is made with this class (application.py)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._commit_lock = asyncio.Lock()
        self._committing: asyncio.Task[int | None] | None = None
        self._paused_sources: set[TP] = set()
        self._flowing = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._next_offsets: dict[TP, int] = {}
        self._seeking: dict[TP, asyncio.Task[None]] = {}
        for dispatcher in self._sources:
            dispatcher.flow = self

    def _new_consumer_thread(self) -> DeliveryConsumerThread:
        return DeliveryConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def delivery_thread(self) -> DeliveryConsumerThread:
        """The thread, with its real type. It is this worker's member of the group."""
        return cast("DeliveryConsumerThread", self._thread)

    @property
    def _parts(self) -> Parts:
        return cast("Parts", self.app.parts)

    @property
    def _sources(self) -> Sources:
        return self._parts.sources

    def _source_partitions(self, tps: Iterable[TP]) -> set[TP]:
        return {tp for tp in tps if tp.topic in self._sources.topics}

    # --------------------------------------------------------------- fetching

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Pass fetched messages to the stream. Faust's own loop would create four tasks for each message."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(FETCH_SECONDS):
                    await self.callback(message)
        except BaseException as error:
            ends = isinstance(error, (asyncio.CancelledError, *self.consumer_stopped_errors))
            if not (ends and self.app.should_stop):
                raise

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - Faust's own signature
        """Fetch; see `faust.transport.consumer.Consumer.getmany`, whose checks are kept.

        All records of the source topics in a fetch are one message, whose value is the batches by partition.
        """
        generation, records, active = await self._fetch(timeout)
        if not self._is_current(generation):
            return
        sources = self._source_partitions(records)
        batches = {tp: records[tp] for tp in records if tp in sources and records[tp] and self._is_wanted(tp, active)}
        if batches:
            yield self._message_of(batches)
            # This comes after the yield, which Faust may cancel. A batch that is dispatched twice does no harm.
            for tp in batches:
                self.delivery_thread.reached_stream(tp)
        others = {tp: records[tp] for tp in records if tp not in sources}
        for message in self._of_other_topics(others, generation, active):
            yield message

    def _of_other_topics(
        self, records: Mapping[TP, list[Any]], generation: int, active: set[TP] | None
    ) -> Iterator[tuple[TP, ConsumerMessage]]:
        """A message for each record, as in Faust."""
        for tp, record in self.scheduler.iterate(records):
            if not self._is_current(generation):
                return
            if self._is_wanted(tp, active) and record.offset >= (self._read_offset[tp] or 0):
                yield tp, self._to_message(tp, record)
                self._read_offset[tp] = record.offset
        for tp in records:
            self.delivery_thread.reached_stream(tp)

    def _message_of(self, batches: Mapping[TP, Sequence[Any]]) -> tuple[TP, ConsumerMessage]:
        """One message for all *batches*, and the partition to which Faust assigns it."""
        for tp, batch in batches.items():
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            self._next_offsets[tp] = batch[-1].offset + 1
        tp = next(iter(batches))
        message = self._to_message(tp, batches[tp][-1])
        # Raw codecs pass the value on unchanged, so the agent gets the batches (agents/deliver.py).
        message.key, message.value, message.headers = None, cast("bytes", batches), None
        return tp, message

    async def _fetch(self, timeout: float) -> tuple[int, Mapping[TP, list[Any]], set[TP] | None]:  # noqa: ASYNC109 - Faust's own
        """Records by partition, with the generation of the fetch and the partitions asked for."""
        if self._paused_sources:
            await self._some_flow()
        if not self.flow_active:
            # Faust's fetch would also wait, but the wait has to end before the generation is read.
            await self.wait(cast("Any", self.can_resume_flow))
        generation = self.app.consumer_generation_id
        found, active = await self._wait_next_records(PAUSED_POLL_SECONDS if self._paused_sources else timeout)
        records = found or {}
        # These offsets are taken even if the fetch is discarded, because they are not valid in the next generation.
        out_of_range = self.delivery_thread.take_out_of_range()
        if self.should_stop or not self._is_current(generation):
            return generation, {}, active
        for tp, offset in out_of_range.items():
            if tp not in self._seeking or self._seeking[tp].done():
                self._seeking[tp] = asyncio.create_task(self._recover(tp, offset, generation))
        self._pass_over_gaps(records)
        return generation, records, active

    def _pass_over_gaps(self, records: Mapping[TP, Sequence[Any]]) -> None:
        """Advance partitions past transaction markers, aborted and compacted records, which must not count as lag."""
        for dispatcher in self._sources:
            for number, position in self.delivery_thread.positions(dispatcher.topic).items():
                tp = TP(dispatcher.topic, number)
                if tp not in records and dispatcher.pass_over(number, self._next_offsets.get(tp), position):
                    self._next_offsets[tp] = position

    async def _recover(self, tp: TP, offset: int, generation: int) -> None:
        """Find the offset at which to continue after a fetch from *offset* was out of range."""
        try:
            goes_on_at = await self._parts.log_checks[tp.topic].find_offset(tp.partition, offset)
            if generation != self.app.consumer_generation_id:
                return
            if goes_on_at is None:
                self.delivery_thread.rejoin()  # the new assignment compares all offsets with the log again
            else:
                self._next_offsets[tp] = goes_on_at
                await self.seek_wait({tp: goes_on_at})
                self._sources[tp.topic].pass_over(tp.partition, offset, goes_on_at)
        except Exception as error:  # noqa: BLE001 - the assignment may be gone by now; otherwise the next fetch retries
            logger.warning(
                "partition %d of %s: could not recover from an out-of-range fetch; the next fetch tries again: %r",
                tp.partition,
                tp.topic,
                error,
            )

    def _is_current(self, generation: int) -> bool:
        return self.flow_active and generation == self.app.consumer_generation_id

    def _is_wanted(self, tp: TP, active: set[TP] | None) -> bool:
        return active is None or tp in active or tp in self._buffered_partitions

    async def _some_flow(self) -> None:
        """Wait while every partition is paused. Without this, Faust would sleep for a second."""
        self._flowing.clear()
        if not self._active_partitions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._flowing.wait()

    def pause_source(self, topic: str, number: int) -> None:
        """See `ports.Flow`. Pausing the partition itself would drop fetched records (faust.transport.consumer)."""
        tp = TP(topic, number)
        self._paused_sources.add(tp)
        self.on_buffer_full(tp)

    def resume_source(self, topic: str, number: int) -> None:
        """See `ports.Flow`."""
        tp = TP(topic, number)
        self._paused_sources.discard(tp)
        self.on_buffer_drop(tp)
        self._flowing.set()

    # --------------------------------------------------------------- committing

    @faust.Service.task
    async def _keep_committing(self) -> None:
        pause = LONGEST_SECONDS
        while not self.should_stop:
            await asyncio.sleep(pause)
            offsets = self._parts.log_checks.trusted(self._sources.offsets_to_commit())
            self._committing = committing = asyncio.create_task(self.commit_settled(offsets))
            try:
                await asyncio.wait([committing])
            finally:
                committing.cancel()
            pause = pause_after(0 if committing.cancelled() else committing.result(), pause)

    async def commit_settled(self, settled: Mapping[TopicPartition, int]) -> int | None:
        """Commit offsets of partitions that are still open.

        Returns how far the offsets advanced, 0 if nothing was left to commit; None if the commit was not confirmed.
        """
        if not settled:
            return 0  # This comes before the lock: without a broker, a commit that holds the lock never ends.
        async with self._commit_lock:
            assigned = self.assignment()
            # A partition that was given back during this wait has been committed already. A second, late commit would
            # have no metadata, and would overwrite the first.
            offsets = {
                TP(*tp): offset
                for tp, offset in settled.items()
                if TP(*tp) in assigned and self._sources[tp.topic].is_open(tp.partition)
            }
            begun_to = {tp: self._sources[tp.topic].begun_to(tp.partition) for tp in offsets}
            if not offsets:
                return 0
            if not await self.delivery_thread.commit_with_metadata(offsets, begun_to):
                return None
            self.app.tables.on_commit(offsets)
            self.app.monitor.on_tp_commit(offsets)
            return self._sources.committed(offsets, begun_to)

    # --------------------------------------------------------------- rebalancing

    async def open_partitions(self) -> None:
        """After an assignment and the recovery of tables: open the assigned partitions, each at its position."""
        self._opening = opening = asyncio.create_task(self._open_assigned())
        try:
            await asyncio.wait([opening])
        finally:
            opening.cancel()
        if opening.cancelled():
            # The partitions have already been given back. If this method returned, Faust would resume the stream for
            # the old assignment. So it waits until Faust cancels it, at the next assignment or when Faust stops.
            await asyncio.Event().wait()
        opening.result()

    async def _open_assigned(self) -> None:
        assigned = self._source_partitions(self.assignment())
        if not assigned:
            await self._sources.open({}, {})
            return
        # The consumer's position may already be past events that were fetched and discarded.
        committed = await self.delivery_thread.committed(sorted(assigned))
        positions, logs = await self._parts.log_checks.begin(committed)
        starts = {TP(*tp): position for tp, position in positions.items()}
        await self.seek_wait(starts)
        await self.app.expect_rows(max(tp.partition for tp in assigned) + 1)
        self._next_offsets = starts
        await self._sources.open(positions, logs)
        # Commit even if no offset has changed, so that the group has a commit for each of its partitions.
        await self.commit_settled(self._sources.offsets_to_commit())
        logger.info("assigned partitions %s", _shown(assigned))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop deliveries in these partitions, write all cursors, and only then give the partitions back."""
        self.stop_flow()
        self.app.flow_control.suspend()
        await self.give_back({TopicPartition(*tp) for tp in self._source_partitions(revoked)})
        self._buffered_partitions -= self._paused_sources
        self._paused_sources.clear()
        self._flowing.set()
        await super().on_partitions_revoked(revoked)

    async def give_back(self, tps: Collection[TopicPartition]) -> None:
        """Drain, commit and close partitions of the source topics."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        for seeking in self._seeking.values():
            seeking.cancel()
        offsets = await self._sources.drain(tps, self._parts.drain_seconds)
        try:
            async with asyncio.timeout(LAST_COMMIT_SECONDS):
                committable = await self._parts.log_checks.committable(offsets)
                advanced = await self.commit_settled(committable)
            owned = [tp for tp in committable if self._sources[tp.topic].is_open(tp.partition)]
            if advanced is None:
                logger.warning(
                    "the last commit of partitions %s was not confirmed, so events may be repeated", _shown(owned)
                )
            elif owned:
                logger.info("gave back partitions %s: drained and committed", _shown(owned))
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            logger.warning("the last commit of partitions %s was not confirmed: %r", _shown(offsets), error)
        await self._sources.close(tps)
        if self._committing is not None:
            # aiokafka would retry the commit in the next generation, and overwrite commits of another owner.
            self._committing.cancel()


def _shown(tps: Iterable[TP | TopicPartition]) -> str:
    """For example `[0, 2] of orders, [0] of payments`."""
    numbers: dict[str, list[int]] = {}
    for topic, number in sorted((tp.topic, tp.partition) for tp in tps):
        numbers.setdefault(topic, []).append(number)
    return ", ".join(f"{each} of {topic}" for topic, each in numbers.items())
