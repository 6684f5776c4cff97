"""What a crash costs: a worker is killed in the middle of a full topic, and another one is started at once."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.benchmarks.arrivals import Arrival, order
from tests.benchmarks.receiver import Receiver
from tests.benchmarks.report import Section
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import SUBSCRIPTIONS, Pipeline, Stage

LEVELS: Final = ("at-least-once", "auto")
ANSWER_SECONDS: Final = 0.025
LAG_SECONDS: Final = 0.5
"""What the killed worker has sent may arrive so long afterwards; the other one takes longer to start."""
LOOK_SECONDS: Final = 1.0
"""Each look costs the receiver some time; nothing that is measured depends on how often there is one."""
COLUMNS: Final = ("level", "kills", "in flight", "repeated", "lost", "out of order", "first new event")


@dataclass(frozen=True, slots=True)
class Crash:
    """One kill.

    Attributes:
        in_flight: requests that arrived so shortly before the kill that their answers were still to come.
        repeated: events that arrived more than once.
        lost: events that never arrived.
        out_of_order: events that did not arrive directly after their predecessor.
        seconds: from the kill to the first event that had not arrived before the other worker sent it.
    """

    in_flight: int
    repeated: int
    lost: int
    out_of_order: int
    seconds: float


async def run(stage: Stage, scale: Scale) -> Section:
    """Kill a worker of each level in turn, several times."""
    crashes: dict[str, list[Crash]] = {level: [] for level in LEVELS}
    for _ in range(scale.pairs):
        for level, found in crashes.items():
            async with stage.receiver() as receiver:
                found.append(await _crash(stage, receiver, level, scale.crashed_events))
    return Section(
        "A worker is killed",
        f"kill -9 in the middle of {scale.crashed_events:,} events for {len(SUBSCRIPTIONS)} subscriptions whose "
        f"receiver answers after {1000 * ANSWER_SECONDS:.0f} ms; another worker is started at once. Medians of the "
        "kills; what was in flight has to be repeated.",
        COLUMNS,
        [_row(level, found) for level, found in crashes.items()],
    )


async def _crash(stage: Stage, receiver: Receiver, level: str, events: int) -> Crash:
    await receiver.behave(SUBSCRIPTIONS, after_seconds=ANSWER_SECONDS)
    topic, pipeline = await stage.filled(events), Pipeline(qos=level)
    await stage.prepare(topic, receiver, pipeline)
    async with stage.start(pipeline) as first:
        await receiver.watch(first, events // 2)
        await receiver.stretch(first, events // 2)
        killed_at = time.time()
        await first.kill()
    async with stage.start(pipeline) as second:
        await second.unless_it_ends(_all_arrive(receiver, events))
    return _judge(await receiver.arrivals(), events, killed_at)


async def _all_arrive(receiver: Receiver, events: int) -> None:
    """Return when every event has arrived, and what is repeated after the last new one has as well."""
    arrivals: Sequence[Arrival] = ()
    before = -1
    while order(arrivals).events < events or len(arrivals) > before:
        before = len(arrivals)
        await asyncio.sleep(LOOK_SECONDS)
        arrivals = await receiver.arrivals()


def _judge(arrivals: Sequence[Arrival], events: int, killed_at: float) -> Crash:
    before = [each for each in arrivals if each.arrived_at < killed_at + LAG_SECONDS]
    known = {(each.number, each.sequence) for each in before}
    first_new = min(each.arrived_at for each in arrivals if (each.number, each.sequence) not in known)
    kept = order(arrivals)
    return Crash(
        sum(each.arrived_at > killed_at - ANSWER_SECONDS for each in before),
        kept.repeated,
        events - kept.events,
        kept.out_of_order,
        first_new - killed_at,
    )


def _row(level: str, crashes: Sequence[Crash]) -> tuple[str, ...]:
    return (
        level,
        str(len(crashes)),
        f"{median(each.in_flight for each in crashes):.0f}",
        f"{median(each.repeated for each in crashes):.0f}",
        str(sum(each.lost for each in crashes)),
        str(sum(each.out_of_order for each in crashes)),
        f"{median(each.seconds for each in crashes):.1f} s",
    )
