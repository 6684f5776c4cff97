"""How we sit on Faust: what its consumer does otherwise here (docs/design.md, On top of Faust).

Faust's tracking of acknowledgements is not used for the source topic; the windows decide what may be committed.

    getmany                one message for all records of the source topic that a fetch returns
    _drain_messages        the loop from fetch to stream, without tasks
    _keep_committing       the windows' prefixes; Faust commits whatever else it tracks
    on_partitions_revoked  drain, rows, commit, close; then Faust's part

Faust makes its consumer itself, by private methods that are overridden here: transport, consumer, thread
(consumer_thread.py) and rebalance listener. Where one of them is not called, Faust's own takes its place in silence:
PATCHES says what would follow. The private names that are only read raise an error where they are gone:

    _wait_next_records, _to_message            what `getmany` is made of
    _active_partitions, _buffered_partitions   one partition is paused and the others go on
    Producer._producer                         the tables' producer has to learn of new partitions
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import ServiceT

from pipeline.core.dispatcher import Dispatcher
from pipeline.core.patches import Patch, looks_up
from pipeline.runtime.commit_pace import LONGEST_SECONDS, pause_after
from pipeline.runtime.consumer_thread import DeliveryConsumerThread, DeliveryRebalanceListener, Seat

logger = logging.getLogger(__name__)

FETCH_SECONDS = 1.0
"""How long a fetch waits that finds nothing, as in Faust."""
SMALL_FETCH_EVENTS = 64
GATHER_SECONDS = 0.003
"""How long the next fetch waits after one with fewer events. At a low steady rate most of the cost is a fetch for every
few events. The pause adds a few milliseconds to the p50 from production to arrival."""
PAUSED_POLL_SECONDS = 0.02
"""How long a fetch waits while some partition is paused, which is also the longest delay after it is resumed."""
LAST_COMMIT_SECONDS = 10.0
"""How long giving partitions back waits for the last commit; without that commit events are repeated, none is lost."""


class DeliveryConsumer(driver.Consumer):
    """Faust's consumer with what is listed above."""

    RebalanceListener: ClassVar[type[driver.ConsumerRebalanceListener]] = DeliveryRebalanceListener
    app: "DeliveryApp"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._prefix_lock = asyncio.Lock()
        self._paused_sources: set[TP] = set()
        self._flowing = asyncio.Event()
        self._opening: asyncio.Task[None] | None = None
        self._fetched = 0
        self._handed_out: dict[int, int] = {}
        self._seeking: dict[int, asyncio.Task[None]] = {}
        self._dispatcher.flow = self

    def _new_consumer_thread(self) -> DeliveryConsumerThread:
        return DeliveryConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _delivery_thread(self) -> DeliveryConsumerThread:
        return cast("DeliveryConsumerThread", self._thread)

    @property
    def _seat(self) -> Seat:
        return self.app.seat

    @property
    def _dispatcher(self) -> Dispatcher:
        return self._seat.dispatcher

    def _source_partitions(self, tps: set[TP]) -> set[int]:
        topic = self._dispatcher.topic
        return {tp.partition for tp in tps if tp.topic == topic}

    # --------------------------------------------------------------- records come

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Faust's loop from fetch to stream, which would make four tasks for each message."""
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

        What a fetch returns of the source topic is one message, whose value is the batches by partition number.
        """
        generation, records, active = await self._fetch(timeout)
        topic = self._dispatcher.topic
        if not self._is_current(generation):
            return
        batches: dict[int, Sequence[Any]] = {}
        message = None
        for tp, batch in records.items():
            if tp.topic == topic and batch and self._is_wanted(tp, active):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                self._handed_out[tp.partition] = batch[-1].offset + 1
                batches[tp.partition] = batch
                message = message or self._to_message(tp, batch[-1])
        if message is not None:
            # Raw codecs pass the value on unchanged, so the agent gets the batches (agents/deliver.py).
            message.key, message.value, message.headers = None, cast("bytes", batches), None
            yield message.tp, message
            # Only now: Faust may cancel the yield, and dispatching a batch twice does no harm.
            for number in batches:
                self._delivery_thread.claim(TP(topic, number))
        others = {tp: batch for tp, batch in records.items() if tp.topic != topic}
        for tp, record in self.scheduler.iterate(others):
            if not self._is_current(generation):
                return
            if self._is_wanted(tp, active) and record.offset >= (self._read_offset[tp] or 0):
                yield tp, self._to_message(tp, record)
                self._read_offset[tp] = record.offset
        for tp in others:
            self._delivery_thread.claim(tp)

    async def _fetch(self, timeout: float) -> tuple[int, Mapping[TP, list[Any]], set[TP] | None]:  # noqa: ASYNC109 - Faust's own
        """Records by partition, with the generation of the fetch and the partitions asked for."""
        await self._before_fetch()
        if not self.flow_active:
            # Faust waits as well, in the fetch; but only then is it known which generation the fetch is for.
            await self.wait(cast("Any", self.can_resume_flow))
        generation = self.app.consumer_generation_id
        found, active = await self._wait_next_records(PAUSED_POLL_SECONDS if self._paused_sources else timeout)
        records = found or {}
        # Of this fetch, also if nothing comes of it: in another generation partitions begin elsewhere.
        out_of_range = self._delivery_thread.take_out_of_range()
        self._fetched = sum(map(len, records.values()))
        if self.should_stop:
            return generation, {}, active
        if not self._is_current(generation):
            return generation, {}, active
        for number, offset in out_of_range.items():
            if number not in self._seeking:
                self._seeking[number] = asyncio.create_task(self._go_on(number, offset, generation))
        self._pass_over_what_is_no_event(records)
        return generation, records, active

    def _pass_over_what_is_no_event(self, records: Mapping[TP, Sequence[Any]]) -> None:
        """Advance partitions past markers and aborted or compacted records, which bring no event: no lag is shown."""
        topic = self._dispatcher.topic
        for number, position in self._delivery_thread.positions(topic).items():
            if TP(topic, number) not in records:
                self._dispatcher.pass_over(number, self._handed_out.get(number), position)

    async def _go_on(self, number: int, offset: int, generation: int) -> None:
        """Find the offset at which to continue after a fetch from *offset* was out of range."""
        try:
            goes_on_at = await self._seat.log_check.find_offset(number, offset)
            if generation != self.app.consumer_generation_id:
                return
            if goes_on_at is None:
                self.rejoin()  # then everything is compared again
            else:
                self._handed_out[number] = goes_on_at
                await self.seek_wait({TP(self._dispatcher.topic, number): goes_on_at})
                self._dispatcher.pass_over(number, offset, goes_on_at)
        except Exception as error:  # noqa: BLE001 - the assignment may be gone by now; otherwise the next fetch retries
            logger.warning("partition %d has not recovered from an out-of-range fetch yet: %r", number, error)
        finally:
            del self._seeking[number]

    def _is_current(self, generation: int) -> bool:
        return self.flow_active and generation == self.app.consumer_generation_id

    def _is_wanted(self, tp: TP, active: set[TP] | None) -> bool:
        return active is None or tp in active or tp in self._buffered_partitions

    async def _before_fetch(self) -> None:
        if self._paused_sources:
            await self._some_flow()
        if 0 < self._fetched < SMALL_FETCH_EVENTS:
            await asyncio.sleep(GATHER_SECONDS)

    async def _some_flow(self) -> None:
        """Wait while every partition is paused; Faust would sleep for a second."""
        self._flowing.clear()
        if not self._active_partitions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._flowing.wait()

    def pause(self, number: int) -> None:
        """See `dispatcher.Flow`. Pausing the partition itself would drop fetched records (faust.transport.consumer)."""
        tp = TP(self._dispatcher.topic, number)
        self._paused_sources.add(tp)
        self.on_buffer_full(tp)

    def resume(self, number: int) -> None:
        """See `dispatcher.Flow`."""
        tp = TP(self._dispatcher.topic, number)
        self._paused_sources.discard(tp)
        self.on_buffer_drop(tp)
        self._flowing.set()

    async def learn_partitions(self, topics: Iterable[str], count: int) -> None:
        """See `DeliveryApp.learn_partitions`."""
        await self._delivery_thread.learn_partitions(topics, count)

    @property
    def is_out_of_reach(self) -> bool:
        """See `membership.GroupMember`."""
        return self._delivery_thread.is_out_of_reach

    def rejoin(self) -> None:
        """See `membership.GroupMember`."""
        self._delivery_thread.rejoin()

    # --------------------------------------------------------------- offsets go

    @faust.Service.task
    async def _keep_committing(self) -> None:
        pause = LONGEST_SECONDS
        while not self.should_stop:
            await asyncio.sleep(pause)
            advanced = await self.commit_prefixes(self._seat.log_check.trusted(self._dispatcher.prefixes()))
            pause = pause_after(advanced, pause)

    async def commit_prefixes(self, prefixes: Mapping[int, int]) -> int | None:
        """Commit offsets of partitions that this worker still owns; by how many they advance, None if not confirmed."""
        if not prefixes:
            return 0  # without waiting for a commit under way, which never ends at a stop without a broker
        async with self._prefix_lock:
            ours = self._source_partitions(self.assignment()).intersection(prefixes)
            offsets = {TP(self._dispatcher.topic, number): prefixes[number] for number in ours}
            if not (offsets and await self._delivery_thread.commit_noted(offsets)):
                return None
            self.app.tables.on_commit(offsets)
            self.app.monitor.on_tp_commit(offsets)
            return self._dispatcher.committed({tp.partition: offset for tp, offset in offsets.items()})

    # --------------------------------------------------------------- partitions come and go

    async def open_partitions(self) -> None:
        """After an assignment and the recovery of tables: open the assigned partitions, each at its position."""
        self._opening = opening = asyncio.create_task(self._open_assigned())
        try:
            await asyncio.wait([opening])
        finally:
            opening.cancel()
        if opening.cancelled():
            # The partitions have been given back already. Faust would let events of the old assignment flow; it cancels
            # this wait at the next assignment, or at its own end.
            await asyncio.Event().wait()
        opening.result()

    async def _open_assigned(self) -> None:
        topic = self._dispatcher.topic
        numbers = self._source_partitions(self.assignment())
        if not numbers:
            await self._dispatcher.open({})
            return
        # The committed offset, not the consumer's position, which may be past fetched and skipped events.
        committed = await self._delivery_thread.committed(topic, sorted(numbers))
        positions, logs = await self._seat.log_check.begin(committed)
        await self.seek_wait({TP(topic, number): position for number, position in positions.items()})
        await self.app.expect_rows(max(numbers) + 1)
        self._handed_out = dict(positions)
        await self._dispatcher.open(positions, logs)
        # Even if no offset has moved: from now on, the group shows all of its partitions.
        await self.commit_prefixes(self._dispatcher.prefixes())
        logger.info("assigned partitions %s of %s", sorted(numbers), topic)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop deliveries in these partitions, write all cursors, and only then give the partitions back."""
        self.stop_flow()
        self.app.flow_control.suspend()
        await self.give_back(self._source_partitions(revoked))
        self._buffered_partitions -= self._paused_sources
        self._paused_sources.clear()
        self._flowing.set()
        await super().on_partitions_revoked(revoked)

    async def give_back(self, numbers: set[int]) -> None:
        """Drain, commit and close partitions of the source topic."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        for seeking in self._seeking.values():
            seeking.cancel()
        prefixes = await self._dispatcher.drain(numbers, self._seat.drain_seconds)
        try:
            async with asyncio.timeout(LAST_COMMIT_SECONDS):
                await self.commit_prefixes(await self._seat.log_check.committable(prefixes))
            if prefixes:
                logger.info("gave back partitions %s: drained and committed", sorted(prefixes))
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            logger.warning("the last commit of partitions %s was not confirmed: %r", sorted(prefixes), error)
        await self._dispatcher.close(numbers)


class DeliveryTransport(driver.Transport):
    """Faust's aiokafka transport with `DeliveryConsumer`."""

    Consumer: ClassVar[type[driver.Consumer]] = DeliveryConsumer


class DeliveryApp(faust.App):
    """A Faust application whose source topic is read by `DeliveryConsumer`.

    Its tables are needed to build what its consumer needs. So it is made first, and takes its seat before it starts.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seat: Seat | None = None

    def take(self, seat: Seat) -> None:
        """Deliver by these parts: once, before the start."""
        if self._seat is not None:
            raise RuntimeError("the application has its seat already")
        self._seat = seat

    @property
    def seat(self) -> Seat:
        """What its consumer needs of the pipeline."""
        if self._seat is None:
            raise RuntimeError("the application has no seat yet")
        return self._seat

    def _new_transport(self) -> DeliveryTransport:
        return DeliveryTransport(self.conf.broker_consumer, self)

    @property
    def delivery_consumer(self) -> DeliveryConsumer:
        """The consumer, with its real type."""
        return cast("DeliveryConsumer", self.consumer)

    async def learn_partitions(self, count: int) -> None:
        """See `expansion.TopicClients`."""
        if self._consumer is not None:
            topics = [self.seat.dispatcher.topic, *self.tables.changelog_topics]
            await self.delivery_consumer.learn_partitions(topics, count)

    def learn_topic_id(self, topic_id: str | None) -> None:
        """See `expansion.TopicClients`."""
        # Without a partition there is nothing to open again: this worker would rejoin at every check.
        if self._consumer is not None and self.seat.dispatcher.assigned and self.seat.log_check.is_another(topic_id):
            self.delivery_consumer.rejoin()

    @property
    def is_out_of_reach(self) -> bool:
        """See `membership.GroupMember`."""
        return self._consumer is None or self.delivery_consumer.is_out_of_reach

    def rejoin(self) -> None:
        """See `membership.GroupMember`."""
        if self._consumer is not None:
            self.delivery_consumer.rejoin()

    async def expect_rows(self, count: int) -> None:
        """Tell the producer of the tables the number of partitions: it refuses rows of an unknown partition."""
        producer = cast("driver.Producer", self.producer)._producer  # noqa: SLF001 - Faust has no public access to it
        if producer is not None:
            found = map(producer.client.cluster.partitions_for_topic, self.tables.changelog_topics)
            # It looks up a topic when it first writes to it.
            if any(known and len(known) < count for known in found):
                await producer.client.force_metadata_update()

    async def on_stop(self) -> None:
        """On SIGTERM: all deliveries come to rest while the producers still run, then Faust stops."""
        try:
            if self._consumer is not None:
                self._consumer.stop_flow()
                self.flow_control.suspend()
                await self.delivery_consumer.give_back(set(self.seat.dispatcher.assigned))
        finally:
            await self.seat.log_check.close()
            # Even after an error: without its own part Faust would wait indefinitely.
            await super().on_stop()


_THREAD: Final = "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread."
_TAKEN_IN: Final = "Faust takes events in and commits them by its own rules"

PATCHES: Final = tuple(
    Patch("faust-streaming", name, without, looks_up(function, name.partition(".")[2]))
    for name, function, without in (
        ("App._new_transport", "faust:App.transport", _TAKEN_IN),
        ("Transport.Consumer", "faust.transport.base:Transport.create_consumer", _TAKEN_IN),
        (
            "Consumer._new_consumer_thread",
            "faust.transport.consumer:ThreadDelegateConsumer.__init__",
            "no lease is renewed and nothing is delivered",
        ),
        ("Consumer.RebalanceListener", f"{_THREAD}__post_init__", "events from before a rebalance pass for current"),
        (
            "AIOKafkaConsumerThread._create_worker_consumer",
            f"{_THREAD}_create_consumer",
            "commits do not name the topic, and events of aborted transactions are delivered",
        ),
        (
            "AIOKafkaConsumerThread._fetch_records",
            f"{_THREAD}getmany",
            "an offset out of range or a missing right ends the worker",
        ),
        (
            "PartitionAssignor._perform_assignment",
            "faust.assignor:PartitionAssignor._assign",
            "tokens and events of a partition get to different workers while topics grow",
        ),
    )
)
