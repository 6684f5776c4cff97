"""What ninety subscriptions notice of ten neighbours whose receivers hang or fail."""

from dataclasses import dataclass, field
from statistics import median
from typing import Final

from tests.benchmarks.arrivals import percentile
from tests.benchmarks.paced import Load, put_under_load
from tests.benchmarks.receiver import Receiver
from tests.benchmarks.report import Section, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import SUBSCRIPTIONS, Stage, Start

BAD: Final = range(10)
GOOD: Final = range(10, 100)
READ_TIMEOUT_MS: Final = 2000
PER_SECOND: Final = 10.0
"""Events for each subscription under steady load."""

ALONE: Final = "not there"
NEIGHBOURS: Final[dict[str, int | None]] = {ALONE: None, "hang until the timeout": 0, "answer 503 for ever": 503}
"""What the ten do, and the status of their answers: 0 for none."""
COLUMNS: Final = ("the 10 neighbours", "runs", "the 90: deliveries/s", "ratio", "the 90: p50", "p99")


@dataclass(slots=True)
class _Found:
    """What the ninety got with one kind of neighbours."""

    rates: list[float] = field(default_factory=list)
    middles: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)


async def run(stage: Stage, scale: Scale) -> Section:
    """At-least-once, each kind of neighbour in turn: from a full topic, then under a steady load."""
    each = scale.isolated_events // len(GOOD)
    alone = await stage.filled(each * len(GOOD), GOOD)
    together = await stage.filled(each * len(SUBSCRIPTIONS))
    start = stage.pipeline(read_timeout_ms=READ_TIMEOUT_MS)
    found = {name: _Found() for name in NEIGHBOURS}
    for _ in range(scale.pairs):
        for name, status in NEIGHBOURS.items():
            topic = alone if status is None else together
            found[name].rates.append(await _throughput(stage, start, topic, each * len(GOOD), status))
            await _latency(stage, start, scale.isolated_seconds, status, found[name])
    usual = median(found[ALONE].rates)
    return Section(
        "Isolation",
        f"{each:,} events for each of {len(GOOD)} subscriptions, and as many for each of {len(BAD)} that misbehave "
        f"(timeout {READ_TIMEOUT_MS} ms, retries without end after 1 to 2 s). Deliveries/s from a full topic; from "
        f"production to arrival at {PER_SECOND:.0f} events/s for each subscription. Medians.",
        COLUMNS,
        [_row(name, each_found, usual) for name, each_found in found.items()],
    )


async def _misbehave(receiver: Receiver, status: int | None) -> None:
    if status is not None:
        await receiver.behave(BAD, status=status)


async def _throughput(stage: Stage, start: Start, topic: str, target: int, status: int | None) -> float:
    async with stage.receiver() as receiver:
        await _misbehave(receiver, status)
        async with start(topic, receiver) as sender:
            await receiver.watch(sender, target, lowest=GOOD.start)
            return (await receiver.stretch(sender, target)).per_second


async def _latency(stage: Stage, start: Start, seconds: float, status: int | None, found: _Found) -> None:
    numbers = GOOD if status is None else SUBSCRIPTIONS
    load = Load(numbers, PER_SECOND * len(numbers), seconds, lowest=GOOD.start)
    async with stage.receiver() as receiver:
        await _misbehave(receiver, status)
        paced = await put_under_load(stage, start, receiver, load)
    found.middles.append(percentile(paced.latencies, 0.50))
    found.tails.append(percentile(paced.latencies, 0.99))


def _row(name: str, found: _Found, usual: float) -> tuple[str, ...]:
    rate = median(found.rates)
    return (
        name,
        str(len(found.rates)),
        f"{rate:,.0f}",
        f"{rate / usual:.2f}",
        milliseconds(median(found.middles)),
        milliseconds(median(found.tails)),
    )
