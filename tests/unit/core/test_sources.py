"""Several source topics in one worker: what each topic has for itself, and what the topics share."""

from dataclasses import replace

from pipeline.core.dispatcher import Dispatcher
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Rejected
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.sources import Sources, TopicPartition
from pipeline.core.subscription import ReplayOffset, Skip, Start, Subscription
from tests.support.core import LIMITS, OK, Core, subscription
from tests.support.fakes import ANY_LOG, TOPIC, MemoryReader, MemoryRows, RowTopic, SourceLog
from tests.support.virtual_time import in_virtual_time, settle

OTHER = "payments"
HERE, THERE = TopicPartition(TOPIC, 0), TopicPartition(OTHER, 0)


class Two(Core):
    """A worker with two source topics."""

    def __init__(self, *subscriptions: Subscription, worker_bytes: int = 10_000_000) -> None:
        super().__init__(*subscriptions, matches=True)
        first = self.dispatcher
        self.other_rows: list[MemoryRows] = []
        first.memory = memory = QueueMemory(worker_bytes)
        self.other = Dispatcher(
            OTHER,
            deliver=first.deliver,
            rows_of=self._other_rows,
            registry=self.registry,
            reader=MemoryReader(SourceLog()),
            limits=replace(LIMITS, events=100),
            memory=memory,
            on_closed=self.closed.append,
            matching=first.matching,
        )
        self.sources = Sources([first, self.other], first.matching)

    def _other_rows(self, _number: int, log: LogBounds) -> MemoryRows:
        self.other_rows.append(MemoryRows(RowTopic(), log))
        return self.other_rows[-1]

    async def begin(self) -> "Two":
        self.hear()
        await self.sources.open({HERE: 0, THERE: 0}, {HERE: ANY_LOG, THERE: ANY_LOG})
        await settle()
        return self

    async def pay(self, *offsets: int, value: bytes = b"{}") -> None:
        """Dispatch events of the second topic."""
        self.other.dispatch(0, [PlainEvent(OTHER, 0, offset, b"s", value) for offset in offsets])
        await settle()

    @property
    def under_way(self) -> list[tuple[str, int]]:
        return sorted((attempt.event.topic, attempt.offset) for attempt in self.send.pending)


def begun(name: str = "s", **changes: object) -> Subscription:
    made = subscription(name, starts={TOPIC: Start((0,)), OTHER: Start((0,))}, filter=lambda _: True)
    return replace(made, **changes)  # type: ignore[arg-type]  # as `subscription` has it


@in_virtual_time
async def test_each_topic_is_delivered_and_committed_separately() -> None:
    core = await Two(begun()).begin()
    await core.stream(2)
    await core.pay(0, 1, 2)
    assert core.under_way == [(TOPIC, 0), (OTHER, 0)], "in order in each topic, and neither waits for the other"
    [paid] = [attempt for attempt in core.send.pending if attempt.event.topic == OTHER]
    paid.answer(OK)
    await settle()
    assert core.sources.offsets_to_commit() == {HERE: 0, THERE: 1}
    assert core.sources.committed({HERE: 0, THERE: 1}, {}) == 0
    assert core.sources[OTHER].partitions()[0].committed == 1
    await core.sources.close(core.sources.partitions())
    assert core.sources.offsets_to_commit() == {}


@in_virtual_time
async def test_a_failure_and_a_skip_affect_one_topic_only() -> None:
    core = await Two(begun()).begin()
    await core.stream(2)
    await core.pay(0, 1)
    for attempt in list(core.send.pending):
        attempt.answer(Rejected(400))
    await settle()
    core.rows.land()
    core.other_rows[0].land()
    await settle()
    await core.revise(begun(resume_from=Skip(0, 0, OTHER)))
    skipped, failed = (each.partitions()[0].lanes[b"s"] for each in (core.other, core.dispatcher))
    assert (skipped.status, skipped.next) == ("started", 1)
    assert (failed.status, failed.next) == ("failure", 0)
    await core.sources.close(core.sources.partitions())


@in_virtual_time
async def test_a_replay_goes_back_in_one_topic_only() -> None:
    core = await Two(begun()).begin()
    await core.stream(1)
    await core.pay(0)
    for attempt in list(core.send.pending):
        attempt.answer(OK)
    await settle()
    await core.revise(begun(resume_from=ReplayOffset(0, 0, topic=TOPIC)))
    await core.land()
    await core.read()
    assert core.under_way == [(TOPIC, 0)]
    assert not core.other.partitions()[0].lanes[b"s"].wants_to_read
    await core.sources.close(core.sources.partitions())


@in_virtual_time
async def test_all_topics_share_one_memory_limit() -> None:
    """If the memory is full, the largest lanes of all topics fall behind."""
    core = await Two(begun(), worker_bytes=16_000).begin()
    await core.pay(0)
    await core.pay(*range(1, 11), value=b"x" * 1000)
    assert core.other.partitions()[0].lanes[b"s"].state.feed == "live"
    await core.stream(1)
    await core.stream(2)
    assert core.other.partitions()[0].lanes[b"s"].state.feed == "behind"
    assert core.dispatcher.partitions()[0].lanes[b"s"].state.feed == "live"
    await core.sources.close(core.sources.partitions())
