"""The cost of a receiver that hangs while more and more events wait for it, and the time to catch up."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from tests.benchmarks.arrivals import Arrival, Order, latencies, order, percentile
from tests.benchmarks.commit_lag import observed
from tests.benchmarks.events import in_turn, pace, subscription_id
from tests.benchmarks.paced import WARM_UP_EVENTS, Load, warm_up
from tests.benchmarks.processes import Child
from tests.benchmarks.procfs import memory
from tests.benchmarks.receiver import Receiver, Stretch
from tests.benchmarks.report import Section, mebibytes, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import PARTITIONS, SUBSCRIPTIONS, Pipeline, Stage

HUNG: Final = 0
OTHERS: Final = SUBSCRIPTIONS[1:]
SMALL_BODY_BYTES: Final = 50
READ_TIMEOUT_MS: Final = 2000
FOR_ONE_OTHER: Final = 10
"""The number of events for the hanging receiver, for each event of another one."""
ALONE_EVENTS: Final = 5000
COLUMNS: Final = ("waiting for it", "worker RSS", "the others: of what was produced", "p50", "p99", "commit behind")


@dataclass(frozen=True, slots=True)
class Phase:
    """The measurements of one phase of the load.

    Attributes:
        waiting: the number of events that wait for the hanging receiver at the end.
        resident_bytes: the memory of the worker at the end.
        kept_up: for the other subscriptions, the rate of arrivals divided by the rate of production.
        latencies: the sorted latencies of the other subscriptions.
        commit_lag_seconds: the longest commit lag of the hanging subscription's partition.
    """

    waiting: int
    resident_bytes: int
    kept_up: float
    latencies: Sequence[float]
    commit_lag_seconds: float

    def row(self) -> tuple[str, ...]:
        """The row of the table for this phase."""
        return (
            f"{self.waiting:,}",
            mebibytes(self.resident_bytes),
            f"{100 * self.kept_up:.1f} %",
            milliseconds(percentile(self.latencies, 0.50)),
            milliseconds(percentile(self.latencies, 0.99)),
            f"{self.commit_lag_seconds:.1f} s",
        )


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure four phases: no waiting events, the first and the second number of waiting events, and the recovery."""
    topic = await stage.source()
    pipeline = Pipeline(read_timeout_ms=READ_TIMEOUT_MS)
    numbers = list(range(PARTITIONS))
    partition = DefaultPartitioner()(subscription_id(HUNG).encode(), numbers, numbers)
    async with stage.receiver() as receiver, stage.worker(topic, receiver, pipeline) as worker:
        load = _Load(stage, topic, partition, pipeline.app, receiver, worker)
        phases = await load.grow(scale)
        drain, kept = await _recover(receiver, worker, scale.waiting[-1])
    reading = await _reading_seconds(stage.broker.bootstrap, TopicPartition(topic, partition))
    return Section(
        "A receiver that hangs",
        f"{scale.waiting_per_second:,.0f} events/s of {SMALL_BODY_BYTES} B for a subscription whose receiver gives no "
        f"answer (timeout {READ_TIMEOUT_MS} ms), and a tenth of that for {len(OTHERS)} others. `commit behind`: the "
        "longest that an event of its partition was in the log and not committed.",
        COLUMNS,
        [phase.row() for phase in phases],
        [
            f"it recovers: {kept}",
            f"that took {drain.seconds:.1f} s: {drain.per_second:,.0f}/s, {drain.cpu_microseconds:.1f} us of CPU each",
            f"a bare consumer reads the partition in {reading:.1f} s",
            f"the most memory the worker ever had: {mebibytes(drain.peak_bytes)}",
        ],
    )


@dataclass(slots=True)
class _Load:
    """The load on one worker, in phases.

    Attributes:
        partition: the partition of *topic* that has the events of the hanging receiver.
        group: the consumer group of the worker.
    """

    stage: Stage
    topic: str
    partition: int
    group: str
    receiver: Receiver
    worker: Child
    others: Iterator[tuple[int, int]] = field(default_factory=lambda: _after_warm_up(in_turn(OTHERS)))
    hung: Iterator[tuple[int, int]] = field(default_factory=lambda: in_turn([HUNG]))

    async def grow(self, scale: Scale) -> list[Phase]:
        """Run all phases, and return their measurements."""
        warm = Load(OTHERS, 0.0, 0.0)
        await warm_up(self.stage, self.topic, self.receiver, self.worker, warm)
        await self.receiver.behave([HUNG], status=0)
        per_second = scale.waiting_per_second / FOR_ONE_OTHER
        phases = [await self._phase(islice(self.others, ALONE_EVENTS), ALONE_EVENTS, per_second, 0)]
        waiting = 0
        for goal in scale.waiting:
            others = (goal - waiting) // FOR_ONE_OTHER
            waiting = goal
            events = islice(self._mixed(), others * (FOR_ONE_OTHER + 1))
            phases.append(await self._phase(events, others, per_second * (FOR_ONE_OTHER + 1), goal))
        return phases

    def _mixed(self) -> Iterator[tuple[int, int]]:
        """Yield ten events for the hanging receiver and one for the others, repeatedly."""
        return chain.from_iterable((*islice(self.hung, FOR_ONE_OTHER), next(self.others)) for _ in repeat(None))

    async def _phase(self, events: Iterator[tuple[int, int]], others: int, per_second: float, waiting: int) -> Phase:
        receiver, worker = self.receiver, self.worker
        bootstrap = self.stage.broker.bootstrap
        began = time.time()
        await receiver.watch(worker, others, lowest=OTHERS.start)
        async with observed(bootstrap, self.group, self.topic, self.partition) as lag:
            load = pace(self.stage.broker, self.topic, events, per_second=per_second, size=SMALL_BODY_BYTES)
            await worker.unless_it_ends(load)
            stretch = await receiver.stretch(worker, others)
        arrivals = [each for each in await receiver.arrivals() if each.number != HUNG and each.produced_at >= began]
        return Phase(
            waiting,
            memory(worker.pid).resident_bytes,
            stretch.per_second / _produced_per_second(arrivals),
            latencies(arrivals),
            lag.longest_seconds(),
        )


def _after_warm_up(events: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    return islice(events, WARM_UP_EVENTS * len(OTHERS), None)


def _produced_per_second(arrivals: Sequence[Arrival]) -> float:
    times = [each.produced_at for each in arrivals]
    return (len(times) - 1) / (max(times) - min(times))


async def _recover(receiver: Receiver, worker: Child, waiting: int) -> tuple[Stretch, Order]:
    """Let the receiver answer, and wait until all waiting events have arrived. Returns the stretch and the order."""
    await receiver.watch(worker, waiting)
    await receiver.behave([HUNG])
    stretch = await receiver.stretch(worker, waiting)
    return stretch, order(each for each in await receiver.arrivals() if each.number == HUNG)


async def _reading_seconds(bootstrap: str, place: TopicPartition) -> float:
    """The time that a plain consumer takes to read the whole partition."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        began = time.monotonic()
        await consumer.seek_to_beginning(place)
        while await consumer.position(place) < end:
            await consumer.getmany(place, timeout_ms=1000)
        return time.monotonic() - began
