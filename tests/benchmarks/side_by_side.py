"""Compares the pipeline with other senders: CPU time, latency, and the isolation of healthy subscriptions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Final

from tests.benchmarks.arrivals import percentile
from tests.benchmarks.events import in_turn, pace
from tests.benchmarks.paced import WARM_UP_EVENTS, Load, Paced, put_under_load, warm_up
from tests.benchmarks.peers import found
from tests.benchmarks.receiver import IncompleteRunError
from tests.benchmarks.report import Section, mebibytes, milliseconds
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, SUBSCRIPTIONS, Stage, Start
from tests.benchmarks.throughput import BARE, PIPELINE, Runs, measure

PER_SECOND: Final = 1000.0
FLOOR: Final = "bare lanes (the floor)"
HANGING: Final = range(10)
HEALTHY: Final = range(10, 100)
COLUMNS: Final = (
    "sender",
    "runs",
    "deliveries/s",
    "CPU us/delivery",
    "to the pipeline",
    "peak RSS",
    "steady: of one core",
    "p50",
    "p99",
    "beside 10 that hang",
    "order",
)


@dataclass(slots=True)
class _Found:
    """The measurements of one sender."""

    full: Runs = field(default_factory=Runs)
    steady: list[Paced] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def row(self, name: str, ours: Runs) -> tuple[str, ...]:
        cost, our_cost = (each.middle(lambda run: run.cpu_microseconds) for each in (self.full, ours))
        repeated = sum(each.repeated for each in self.full.orders)
        out_of_order = sum(each.out_of_order for each in self.full.orders)
        return (
            name,
            str(len(self.full.stretches)),
            f"{self.full.middle(lambda run: run.per_second):,.0f}",
            f"{cost:.1f}",
            f"{cost / our_cost:.2f}",
            mebibytes(max(each.peak_bytes for each in self.full.stretches)),
            f"{100 * self._steady(lambda run: run.stretch.cpu_share):.0f} %",
            milliseconds(self._steady(lambda run: percentile(run.latencies, 0.50))),
            milliseconds(self._steady(lambda run: percentile(run.latencies, 0.99))),
            f"{100 * median(self.shares):.0f} %",
            f"{repeated} repeated, {out_of_order} out of order",
        )

    def _steady(self, value: Callable[[Paced], float]) -> float:
        return median(map(value, self.steady))


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure all senders in turn, from the same topic."""
    peers, absent = await found()
    rivals: dict[str, Start] = {
        PIPELINE: stage.pipeline(),
        **{peer.name: peer.on(stage) for peer in peers},
        BARE: stage.bare_loop,
        FLOOR: stage.bare_lanes,
    }
    topic = await stage.filled(scale.events)
    runs = {name: _Found() for name in rivals}
    load = Load(SUBSCRIPTIONS, PER_SECOND, scale.paced_seconds)
    notes = list(absent)
    for _ in range(scale.pairs):
        for name, start in list(rivals.items()):
            try:
                await measure(stage, start, topic, scale.events, runs[name].full)
            except IncompleteRunError as error:
                if name == PIPELINE:
                    raise
                # If a peer loses events, the other senders are still measured.
                notes.append(f"{name} left out from turn {len(runs[name].steady) + 1} on: {error.short}")
                del rivals[name]
        for name, start in rivals.items():
            async with stage.receiver() as receiver:
                runs[name].steady.append(await put_under_load(stage, start, receiver, load))
        for name, start in rivals.items():
            runs[name].shares.append(await _share(stage, start, scale.isolated_seconds))
    return Section(
        "Side by side",
        f"{scale.events:,} events of {BODY_BYTES} B for {len(SUBSCRIPTIONS)} subscriptions from a full topic; "
        f"{PER_SECOND:,.0f} events/s for {scale.paced_seconds:.0f} s; and the share of the events of "
        f"{len(HEALTHY)} subscriptions that have arrived after {scale.isolated_seconds:.0f} s of the same load when "
        f"{len(HANGING)} others no longer answer. Medians, in turns. All but the bare loop keep the order.",
        COLUMNS,
        [each.row(name, runs[PIPELINE].full) for name, each in runs.items() if each.steady],
        notes,
    )


async def _share(stage: Stage, start: Start, seconds: float) -> float:
    """The share of the healthy subscriptions' events that arrive under a steady load while other receivers hang."""
    load = Load(SUBSCRIPTIONS, PER_SECOND, seconds, lowest=HEALTHY.start)
    rounds = int(load.per_second * seconds / len(load.numbers))
    topic = await stage.source()
    async with stage.receiver() as receiver, start(topic, receiver) as sender:
        await warm_up(stage, topic, receiver, sender, load)
        await receiver.behave(HANGING, status=0)
        target = load.counted(rounds)
        await receiver.watch(sender, target, lowest=load.lowest)
        await sender.unless_it_ends(
            pace(stage.broker, topic, _after_warm_up(load, rounds), per_second=load.per_second, size=BODY_BYTES)
        )
        return await receiver.taken() / target


def _after_warm_up(load: Load, rounds: int) -> Sequence[tuple[int, int]]:
    first = WARM_UP_EVENTS * len(load.numbers)
    return list(islice(in_turn(load.numbers), first, first + rounds * len(load.numbers)))
