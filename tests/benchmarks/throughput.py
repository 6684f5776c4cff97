"""The rate and the CPU time of deliveries by a worker, compared with the bare loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from tests.benchmarks.arrivals import Order, order
from tests.benchmarks.receiver import Stretch
from tests.benchmarks.report import Section, mebibytes
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import BODY_BYTES, IN_FLIGHT, PARTITIONS, SUBSCRIPTIONS, Stage, Start

PIPELINE: Final = "pipeline, at-least-once"
BARE: Final = f"bare loop, {IN_FLIGHT} in flight"
COLUMNS: Final = ("sender", "runs", "deliveries/s", "CPU us/delivery", "deliveries/CPU s", "peak RSS", "order")


@dataclass(slots=True)
class Runs:
    """The runs of one sender."""

    stretches: list[Stretch] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)

    def middle(self, value: Callable[[Stretch], float]) -> float:
        """The median of a value over all runs."""
        return median(map(value, self.stretches))

    def row(self, name: str) -> tuple[str, ...]:
        """The row of the table, which has the medians."""
        repeated = sum(each.repeated for each in self.orders)
        out_of_order = sum(each.out_of_order for each in self.orders)
        return (
            name,
            str(len(self.stretches)),
            f"{self.middle(lambda each: each.per_second):,.0f}",
            f"{self.middle(lambda each: each.cpu_microseconds):.1f}",
            f"{self.middle(lambda each: each.per_cpu_second):,.0f}",
            mebibytes(max(each.peak_bytes for each in self.stretches)),
            f"{repeated} repeated, {out_of_order} out of order",
        )


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure all four levels and the bare loop, from a topic that is full before the clock starts."""
    topic = await stage.filled(scale.events)
    rivals: dict[str, Start] = {PIPELINE: stage.pipeline(), BARE: stage.bare_loop}
    runs = {name: Runs() for name in rivals}
    for _ in range(scale.pairs):
        for name, start in rivals.items():
            await measure(stage, start, topic, scale.events, runs[name])
    for qos, events in (("auto", scale.events), ("none", scale.events), ("at-most-once", scale.claimed_events)):
        runs[f"pipeline, {qos}"] = found = Runs()
        await measure(stage, _at(stage, qos, scale.events), topic, events, found)
    ours, theirs = runs[PIPELINE], runs[BARE]
    per_cpu = ours.middle(lambda each: each.per_cpu_second) / theirs.middle(lambda each: each.per_cpu_second)
    rate = ours.middle(lambda each: each.per_second) / theirs.middle(lambda each: each.per_second)
    return Section(
        "Throughput and CPU",
        f"{scale.events:,} events of {BODY_BYTES} B for {len(SUBSCRIPTIONS)} subscriptions in {PARTITIONS} partitions, "
        "from the first arrival to the last, the CPU of the sender's process alone; at-least-once and the bare loop "
        f"in turns, medians. At-most-once stops after {scale.claimed_events:,}.",
        COLUMNS,
        [found.row(name) for name, found in runs.items()],
        [f"at-least-once: {per_cpu:.2f} x the bare loop's deliveries per CPU second, {rate:.2f} x its deliveries/s"],
    )


def _at(stage: Stage, qos: str, events: int) -> Start:
    # `none` drops events for which a lane's queue has no room. Here the queue has room for the whole topic.
    settings = {"WEBHOOKS_LANE_EVENTS": str(events)} if qos == "none" else {}
    return stage.pipeline(qos=qos, settings=settings)


async def measure(stage: Stage, start: Start, topic: str, events: int, runs: Runs) -> None:
    """Measure one run, from the start of a sender until it has delivered *events* events."""
    async with stage.receiver() as receiver, start(topic, receiver) as sender:
        await receiver.watch(sender, events)
        runs.stretches.append(await receiver.stretch(sender, events))
        runs.orders.append(order(await receiver.arrivals()))
