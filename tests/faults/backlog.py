"""Measures a large backlog: some of many subscriptions are stopped at different offsets, and resumed one by one.

The results are how fast the healthy subscriptions get the backlog; how long the resumed subscriptions take to get the
events that they have missed, compared with the time to read a partition; the memory of the worker; and the latency of
the healthy subscriptions.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from pipeline.subscriptions.edits import START, STOP
from tests.benchmarks.arrivals import Arrival, latencies, order, percentile
from tests.benchmarks.events import fill, in_turn, pace, subscription_id
from tests.benchmarks.procfs import memory
from tests.benchmarks.receiver import Receiver, receiving
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.worker import Worker

PARTITIONS: Final = 8
BODY_BYTES: Final = 200
PER_SECOND: Final = 500.0
"""The number of events per second for the healthy subscriptions while the stopped subscriptions are resumed."""
ALIKE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Found:
    """The results of the measurement.

    Attributes:
        deliver_seconds: the time until the healthy subscriptions had the whole backlog.
        resume_seconds: the time until all resumed subscriptions had the *missed* events.
        read_seconds: the median time to read one partition with a plain consumer.
        resident_mib: the memory of the worker: at its start, after the backlog, and at the end.
        before, during: p50 and p99 of the healthy subscriptions' latencies in seconds, before and during the resumes.
        alike: the same percentiles when new events arrive at the rate at which the resumed subscriptions got
            theirs. The difference from `during` is the cost of reading the log.
    """

    events: int
    subscriptions: int
    stopped: int
    deliver_seconds: float
    missed: int
    resume_seconds: float
    read_seconds: float
    resident_mib: tuple[int, int, int]
    before: tuple[float, float]
    during: tuple[float, float]
    alike: tuple[float, float]
    lost: int
    repeated: int
    misordered: int


async def big_backlog(broker: TestBroker, folder: Path, *, events: int, subscriptions: int, stopped: int) -> Found:
    """Run the measurement.

    Args:
        broker: a real Kafka.
        folder: the directory for files.
        events: the number of events in the backlog, for all subscriptions in turn.
        subscriptions: the number of subscriptions.
        stopped: how many subscriptions are stopped, beginning with the first one.
    """
    async with (
        receiving(folder / "receiver.log") as receiver,
        cluster(broker, f"backlog-{time.time_ns()}", folder, partitions=PARTITIONS) as found,
    ):
        await _subscribe(found, receiver, subscriptions)
        await fill(broker, found.topic, _first(events, subscriptions), BODY_BYTES)
        worker = await found.start_worker()
        await found.until_ready()
        sizes = [_mib(worker)]
        began = time.monotonic()
        await _stop_on_the_way(found, worker, events, stopped)
        await _until(lambda: _is_drained(worker))
        deliver_seconds = time.monotonic() - began
        sizes.append(_mib(worker))
        reading = [await _bare_read(broker, found.topic, number) for number in range(PARTITIONS)]

        healthy = range(stopped, subscriptions)
        each = 1 + events // subscriptions
        place = len(await receiver.arrivals())
        await pace(broker, found.topic, _next(healthy, each, 20), per_second=PER_SECOND, size=BODY_BYTES)
        await _until(lambda: _is_drained(worker))
        before = (await receiver.arrivals())[place:]
        taken = len(await receiver.arrivals())
        turns = _turns(healthy, each + 20)
        is_over = asyncio.Event()
        load = asyncio.create_task(_keep_on(broker, found.topic, turns, is_over))
        began = time.monotonic()
        for number in range(stopped):
            await found.store.edit(subscription_id(number), START)
            await _until(lambda number=number: _has_caught_up(worker, number))  # type: ignore[misc]  # bound per turn
        resume_seconds = time.monotonic() - began
        is_over.set()
        await load
        await _until(lambda: _is_drained(worker))
        sizes.append(_mib(worker))
        arrivals = await receiver.arrivals()
        missed = sum(1 for arrival in arrivals[taken:] if arrival.number < stopped)
        during = [arrival for arrival in arrivals[taken:] if arrival.number >= stopped]

        more = missed / resume_seconds
        both = _mixed(turns, _turns(range(stopped), each), more / PER_SECOND)
        events_alike = islice(both, int((PER_SECOND + more) * ALIKE_SECONDS))
        await pace(broker, found.topic, events_alike, per_second=PER_SECOND + more, size=BODY_BYTES)
        await _until(lambda: _is_drained(worker))
        place = len(arrivals)
        arrivals = await receiver.arrivals()
        alike = [arrival for arrival in arrivals[place:] if arrival.number >= stopped]
        kept = order(arrivals)
        seen = {(arrival.number, arrival.sequence) for arrival in arrivals}
        return Found(
            events=events,
            subscriptions=subscriptions,
            stopped=stopped,
            deliver_seconds=deliver_seconds,
            missed=missed,
            resume_seconds=resume_seconds,
            read_seconds=median(reading),
            resident_mib=(sizes[0], sizes[1], sizes[2]),
            before=_quantiles(before),
            during=_quantiles(during),
            alike=_quantiles(alike),
            lost=sum(1 for pair in _first(events, subscriptions) if pair not in seen),
            repeated=kept.repeated,
            misordered=kept.out_of_order,
        )


async def _subscribe(found: Cluster, receiver: Receiver, subscriptions: int) -> None:
    for number in range(subscriptions):
        configuration = {"callbackUrl": receiver.url}
        document = {"id": subscription_id(number), "configuration": {"entrypointConfiguration": configuration}}
        await found.store.apply(document)


def _first(events: int, subscriptions: int) -> Sequence[tuple[int, int]]:
    turns = in_turn(range(subscriptions))
    return [next(turns) for _ in range(events)]


def _next(numbers: range, sequence: int, rounds: int) -> Sequence[tuple[int, int]]:
    return [(number, sequence + turn) for turn in range(rounds) for number in numbers]


def _turns(numbers: range, sequence: int) -> Iterator[tuple[int, int]]:
    """Yield (number, sequence) endlessly: each of *numbers* in turn, beginning with *sequence*."""
    return ((number, each) for each in count(sequence) for number in numbers)


def _mixed(
    turns: Iterator[tuple[int, int]], others: Iterator[tuple[int, int]], share: float
) -> Iterator[tuple[int, int]]:
    """Yield *turns*. After each of them, yield *share* events of *others*, on average."""
    due = 0.0
    for turn in turns:
        yield turn
        due += share
        while due >= 1:
            yield next(others)
            due -= 1


async def _keep_on(broker: TestBroker, topic: str, turns: Iterator[tuple[int, int]], is_over: asyncio.Event) -> None:
    await pace(broker, topic, _while_it_lasts(turns, is_over), per_second=PER_SECOND, size=BODY_BYTES)


def _while_it_lasts(turns: Iterator[tuple[int, int]], is_over: asyncio.Event) -> Iterator[tuple[int, int]]:
    """Yield *turns* until *is_over* is set. It is checked before a turn is taken, so that no taken turn is lost."""
    while not is_over.is_set():
        yield next(turns)


async def _stop_on_the_way(found: Cluster, worker: Worker, events: int, stopped: int) -> None:
    """Stop subscriptions at different offsets in the first half of the backlog."""
    for number in range(stopped):
        goal = events * number // (2 * stopped)

        async def is_there(goal: int = goal) -> bool:
            return await _delivered(worker) >= goal

        await _until(is_there)
        await found.store.edit(subscription_id(number), STOP)


async def _metrics(worker: Worker, name: str) -> list[tuple[str, float]]:
    """The (labels, value) of each series with this name."""
    pattern = rf"^{name}(?:\{{([^}}]*)\}})? (\S+)$"
    return [
        (labels, float(value)) for labels, value in re.findall(pattern, await worker.text("/metrics"), re.MULTILINE)
    ]


async def _delivered(worker: Worker) -> int:
    found = await _metrics(worker, "webhooks_deliveries_total")
    return int(sum(value for labels, value in found if 'outcome="delivered"' in labels))


async def _is_drained(worker: Worker) -> bool:
    """Whether nothing is queued or under way, the stream is at its end, and only stopped lanes are behind."""
    for name in ("webhooks_queued_events", "webhooks_in_flight"):
        if sum(value for _, value in await _metrics(worker, name)):
            return False
    places = [dict(await _metrics(worker, f"webhooks_{name}_offset")) for name in ("dispatched", "end")]
    if not places[0] or places[0] != places[1]:
        return False
    behind = await worker.get("/lanes?state=behind&status=started&limit=1")
    return behind is not None and not behind["lanes"]


async def _has_caught_up(worker: Worker, number: int) -> bool:
    name = subscription_id(number)
    answer = await worker.get(f"/lanes?subscription={name}")
    lanes = [lane for lane in (answer or {"lanes": []})["lanes"] if lane["subscription"] == name]
    return all(
        lane["status"] == "started" and not (lane["waitingAtMost"] or lane["queued"] or lane["inFlight"])
        for lane in lanes
    )


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - the condition is in another process
        await asyncio.sleep(0.05)


async def _bare_read(broker: TestBroker, topic: str, partition: int) -> float:
    """The seconds to read a whole partition without using the records."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        began = time.monotonic()
        while await consumer.position(place) < end:
            await consumer.getmany(place, timeout_ms=1000)
        return time.monotonic() - began
    finally:
        await consumer.stop()


def _mib(worker: Worker) -> int:
    return memory(worker.process.pid).resident_bytes // 2**20


def _quantiles(arrivals: Sequence[Arrival]) -> tuple[float, float]:
    ordered = sorted(latencies(arrivals))
    return round(percentile(ordered, 0.5), 4), round(percentile(ordered, 0.99), 4)


def line(found: Found) -> dict[str, object]:
    """The result as a line of a file."""
    return asdict(found)
