"""How much of the possible rate is reached if receivers are slow and the order is kept."""

from typing import Final

from tests.benchmarks.arrivals import order
from tests.benchmarks.report import Section
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import IN_FLIGHT, SUBSCRIPTIONS, Stage, Start

ANSWER_SECONDS: Final = 0.05
POSSIBLE_PER_SECOND: Final = len(SUBSCRIPTIONS) / ANSWER_SECONDS
"""The rate if each subscription sends one event at a time, without a pause between two events."""
COLUMNS: Final = ("sender", "deliveries/s", "of the possible rate", "order")


async def run(stage: Stage, scale: Scale) -> Section:
    """Measure the pipeline at at-least-once, and the bare loop, which does not keep the order."""
    events = int(POSSIBLE_PER_SECOND * scale.slow_seconds)
    topic = await stage.filled(events)
    return Section(
        "The possible rate",
        f"Every answer takes {1000 * ANSWER_SECONDS:.0f} ms: with {len(SUBSCRIPTIONS)} subscriptions in order, "
        f"{POSSIBLE_PER_SECOND:,.0f} deliveries/s are possible. {events:,} events, from the first arrival to the last.",
        COLUMNS,
        [
            await _row(stage, "pipeline, at-least-once", stage.pipeline(), topic, events),
            await _row(stage, f"bare loop, {IN_FLIGHT} in flight", stage.bare_loop, topic, events),
        ],
    )


async def _row(stage: Stage, name: str, start: Start, topic: str, events: int) -> tuple[str, ...]:
    async with stage.receiver() as receiver:
        await receiver.behave(SUBSCRIPTIONS, after_seconds=ANSWER_SECONDS)
        async with start(topic, receiver) as sender:
            await receiver.watch(sender, events)
            rate = (await receiver.stretch(sender, events)).per_second
        found = order(await receiver.arrivals())
    kept = f"{found.repeated} repeated, {found.out_of_order} out of order"
    return name, f"{rate:,.0f}", f"{100 * rate / POSSIBLE_PER_SECOND:.1f} %", kept
