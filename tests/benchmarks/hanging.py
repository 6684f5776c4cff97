"""With `routing: match`, one receiver of a thousand hangs: its effects on the other receivers and on commits."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.benchmarks.events import fill
from tests.benchmarks.fan_out import CUSTOMERS, EACH, of_type, types
from tests.benchmarks.receiver import BACKLOG, HOST, Stretch
from tests.benchmarks.report import Section, mebibytes
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, PARTITIONS, Pipeline, Stage

MANY: Final = 1_000
TYPES: Final = MANY // EACH
READ_TIMEOUT_MS: Final = 2_000
COMMIT_SECONDS: Final = 60.0
"""The longest time that the last commit may take. If it takes longer, commits are stuck."""
COLUMNS: Final = (
    "",
    "runs",
    "deliveries/s to the others",
    "ratio",
    "CPU us/delivery",
    "peak RSS",
    "all committed after",
)


@contextmanager
def _silent_server() -> Iterator[str]:
    """Run a server that accepts connections and never answers. Yields its URL."""
    with socket.create_server((HOST, 0), backlog=BACKLOG) as listener:
        yield f"http://{HOST}:{listener.getsockname()[1]}"


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure without and with the hanging receiver in turn, from a topic that is full before the clock starts."""
    topic = await stage.source()
    count = scale.fanned_out // EACH
    type_of = types(TYPES)
    places = [(place % CUSTOMERS, place // CUSTOMERS) for place in range(count)]
    await fill(stage.broker, topic, places, BODY_BYTES, type_of)
    # Subscription 0 wants the events of type 0. All other deliveries are for the other subscriptions.
    to_others = count * EACH - sum(type_of(*place) == b"type-0" for place in places)
    with _silent_server() as url:
        cases = {
            "999, and no others": (range(1, MANY), {}),
            "999, and one that hangs": (range(MANY), {0: url}),
        }
        found: dict[str, list[tuple[Stretch, float]]] = {name: [] for name in cases}
        for _ in range(scale.pairs):
            for name, (numbers, elsewhere) in cases.items():
                pipeline = Pipeline(
                    subscriptions=numbers,
                    elsewhere=elsewhere,
                    filter_of=of_type(TYPES),
                    read_timeout_ms=READ_TIMEOUT_MS,
                )
                found[name].append(await _measured(stage, pipeline, topic, to_others))
    [alone, hanging] = found.values()
    ratio = median(b.per_second / a.per_second for (a, _), (b, _) in zip(alone, hanging, strict=True))
    return Section(
        "A receiver that hangs beside others that want the same events",
        f"{count:,} events of {BODY_BYTES} B, each for {EACH} of {MANY:,} subscriptions by its type; one of them hangs "
        f"(timeout {READ_TIMEOUT_MS} ms, retries without end). From the first arrival to the last; in turns, medians. "
        "`all committed after`: from the last arrival until every partition's committed offset is the end of its log.",
        COLUMNS,
        [
            (
                name,
                str(len(runs)),
                f"{median(each.per_second for each, _ in runs):,.0f}",
                f"{1.0 if runs is alone else ratio:.3f}",
                f"{median(each.cpu_microseconds for each, _ in runs):.1f}",
                mebibytes(max(each.peak_bytes for each, _ in runs)),
                f"{max(seconds for _, seconds in runs):.1f} s",
            )
            for name, runs in found.items()
        ],
        [f"the others keep {100 * ratio:.1f} % of their rate (median of the ratios of each turn)"],
    )


async def _measured(stage: Stage, pipeline: Pipeline, topic: str, target: int) -> tuple[Stretch, float]:
    async with stage.receiver() as receiver, stage.worker(topic, receiver, pipeline) as worker:
        await receiver.watch(worker, target)
        stretch = await receiver.stretch(worker, target)
        return stretch, await worker.unless_it_ends(_until_committed(stage.broker.bootstrap, pipeline.app, topic))


async def _until_committed(bootstrap: str, group: str, topic: str) -> float:
    """Wait until the end of every partition is committed. Returns the seconds that it took. Raises: TimeoutError."""
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=bootstrap), AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await admin.start()
    await consumer.start()
    began = time.monotonic()
    try:
        ends = await consumer.end_offsets(places)
        async with asyncio.timeout(COMMIT_SECONDS):
            while True:
                offsets = await admin.list_consumer_group_offsets(group, partitions=places)
                if all(offsets[place].offset == ends[place] for place in places if ends[place]):
                    return time.monotonic() - began
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop()
        await admin.close()
