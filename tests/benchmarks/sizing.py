"""The resources that workers need, with several durations of answers, sizes of events, and numbers of partitions and
workers."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import islice
from typing import Final

from tests.benchmarks.events import fill, in_turn
from tests.benchmarks.large import asking, until_ready
from tests.benchmarks.processes import Child
from tests.benchmarks.procfs import cpu_seconds, memory, sockets
from tests.benchmarks.report import Section, mebibytes
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, PARTITIONS, SUBSCRIPTIONS, Pipeline, Stage, free_port

ANSWERS_MS: Final = (1, 10, 100)
SIZES: Final = (200, 2_000, 20_000)
ACTIVE: Final = (100, 1_000, 5_000)
PARTITION_COUNTS: Final = (8, 100, 500)
WORKERS: Final = (1, 2, 4)
REST_SECONDS: Final = 5.0
COLUMNS: Final = ("", "deliveries/s", "CPU per delivery", "peak memory", "sockets")


async def run(stage: Stage, scale: Scale) -> Section:
    """Change one dimension at a time. All other dimensions are as in the throughput part."""
    few, many = scale.events // 10, scale.events // 5
    shared = await stage.filled(2 * scale.events)
    rows = [
        *[await _delivered(stage, f"answers after {each} ms", few, answer_ms=each) for each in ANSWERS_MS],
        *[await _delivered(stage, f"events of {each:,} B", few, size=each) for each in SIZES],
        *[await _delivered(stage, f"{each:,} active subscriptions", many, active=each) for each in ACTIVE],
        *[await _shared(stage, each, shared, 2 * scale.events) for each in WORKERS],
        *[await _at_rest(stage, each) for each in PARTITION_COUNTS],
    ]
    return Section(
        "Sizing",
        f"At-least-once, {len(SUBSCRIPTIONS)} subscriptions (1,000 where answers take time), {PARTITIONS} partitions, "
        f"{BODY_BYTES} B, from a full topic. Several workers: their CPU time together since all were ready, the memory "
        f"and sockets of the largest. At rest: the share of a core, over {REST_SECONDS:.0f} s.",
        COLUMNS,
        rows,
    )


async def _delivered(
    stage: Stage, name: str, events: int, *, answer_ms: int = 0, size: int = BODY_BYTES, active: int = 0
) -> tuple[str, ...]:
    numbers = range(active or (1_000 if answer_ms else len(SUBSCRIPTIONS)))
    topic = await stage.source()
    await fill(stage.broker, topic, islice(in_turn(numbers), events), size)
    async with stage.receiver() as receiver:
        await receiver.behave(numbers, after_seconds=answer_ms / 1000)
        async with stage.worker(topic, receiver, Pipeline(subscriptions=numbers)) as worker:
            await receiver.watch(worker, events)
            stretch = await receiver.stretch(worker, events)
            most = sockets(worker.pid)
    return (
        name,
        f"{stretch.per_second:,.0f}",
        f"{stretch.cpu_microseconds:.0f} us",
        mebibytes(stretch.peak_bytes),
        str(most),
    )


async def _shared(stage: Stage, count: int, topic: str, events: int) -> tuple[str, ...]:
    """Measure the deliveries of *count* workers from a full topic, beginning when all workers are ready."""
    pipeline = Pipeline()
    async with stage.receiver() as receiver, AsyncExitStack() as stack:
        await stage.prepare(topic, receiver, pipeline)
        ports = [free_port() for _ in range(count)]
        starts = [stage.start(replace(pipeline, settings={"WEBHOOKS_WEB_PORT": str(port)})) for port in ports]
        workers = [await stack.enter_async_context(each) for each in starts]
        await receiver.watch(workers[0], events)
        for port, worker in zip(ports, workers, strict=True):
            await worker.unless_it_ends(until_ready(await stack.enter_async_context(asking(port))))
        began, taken, used = time.monotonic(), await receiver.taken(), _cpu_seconds(workers)
        await receiver.stretch(workers[0], events)
        seconds, delivered = time.monotonic() - began, events - taken
        per_delivery = 1e6 * (_cpu_seconds(workers) - used) / delivered
        peak = max(memory(each.pid).peak_bytes for each in workers)
        most = max(sockets(each.pid) for each in workers)
    return f"workers: {count}", f"{delivered / seconds:,.0f}", f"{per_delivery:.0f} us", mebibytes(peak), str(most)


def _cpu_seconds(workers: Iterable[Child]) -> float:
    return sum(cpu_seconds(each.pid) for each in workers)


async def _at_rest(stage: Stage, partitions: int) -> tuple[str, ...]:
    topic = await stage.source(partitions)
    port = free_port()
    pipeline = Pipeline(settings={"WEBHOOKS_WEB_PORT": str(port)})
    async with stage.receiver() as receiver, asking(port) as session:
        await stage.prepare(topic, receiver, pipeline, partitions)
        async with stage.start(pipeline) as worker:
            await worker.unless_it_ends(until_ready(session))
            before = cpu_seconds(worker.pid)
            await asyncio.sleep(REST_SECONDS)
            share = 100 * (cpu_seconds(worker.pid) - before) / REST_SECONDS
            peak, most = memory(worker.pid).peak_bytes, sockets(worker.pid)
    return f"{partitions} partitions at rest", "", f"{share:.1f} % of a core", mebibytes(peak), str(most)
