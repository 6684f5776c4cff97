"""The effects of a crash: a worker is killed in the middle of a full topic, and a new one is started at once."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from tests.benchmarks.arrivals import Arrival, order
from tests.benchmarks.receiver import Receiver
from tests.benchmarks.report import Section
from tests.benchmarks.scale import Scale
from tests.benchmarks.stage import SUBSCRIPTIONS, Pipeline, Stage

LEVELS: Final[dict[str, dict[str, Any]]] = {
    "at-least-once": {"qos": "at-least-once"},
    "auto": {"qos": "auto"},
    **{
        f"at-most-once, {count} claimed": {"qos": "at-most-once", "settings": {"WEBHOOKS_CLAIM_EVENTS": str(count)}}
        for count in (1, 10, 100)
    },
}
"""The options of the pipeline of each level."""
ANSWER_SECONDS: Final = 0.025
LAG_SECONDS: Final = 0.5
"""Requests of the killed worker may arrive this long after the kill. The new worker takes longer to start."""
LOOK_SECONDS: Final = 1.0
"""The time between two looks at the arrivals. Each look takes time from the receiver. No result depends on the number
of looks."""
LAST_LOOKS: Final = 20
"""After this many looks without a new arrival, the missing events are lost."""
COLUMNS: Final = ("level", "kills", "in flight", "repeated", "lost", "out of order", "first new event")


@dataclass(frozen=True, slots=True)
class Crash:
    """The effects of one kill.

    Attributes:
        in_flight: the number of requests that were not answered yet when the worker was killed.
        repeated: the number of arrivals of events that had arrived before.
        lost: the number of events that never arrived.
        out_of_order: the number of events that first arrived after a later event of their subscription.
        seconds: the time from the kill to the first arrival of an event that the killed worker had not sent.
    """

    in_flight: int
    repeated: int
    lost: int
    out_of_order: int
    seconds: float


async def run(stage: Stage, scale: Scale) -> Section:
    """Kill a worker of each level in turn, several times for each level."""
    crashes: dict[str, list[Crash]] = {level: [] for level in LEVELS}
    for _ in range(scale.pairs):
        for level, found in crashes.items():
            async with stage.receiver() as receiver:
                found.append(await _crash(stage, receiver, Pipeline(**LEVELS[level]), scale.crashed_events))
    return Section(
        "A worker is killed",
        f"kill -9 in the middle of {scale.crashed_events:,} events for {len(SUBSCRIPTIONS)} subscriptions whose "
        f"receiver answers after {1000 * ANSWER_SECONDS:.0f} ms; another worker is started at once. Medians of the "
        "kills; at-least-once has to repeat what was in flight, at-most-once may lose what was claimed.",
        COLUMNS,
        [_row(level, found) for level, found in crashes.items()],
    )


async def _crash(stage: Stage, receiver: Receiver, pipeline: Pipeline, events: int) -> Crash:
    await receiver.behave(SUBSCRIPTIONS, after_seconds=ANSWER_SECONDS)
    topic = await stage.filled(events)
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
    """Return when all events that are not lost have arrived, and all repetitions after the last new event, too."""
    known = len(await receiver.arrivals())
    arrivals: Sequence[Arrival] = ()
    quiet = 0
    while quiet < (1 if order(arrivals).events == events else LAST_LOOKS):
        before = len(arrivals)
        await asyncio.sleep(LOOK_SECONDS)
        arrivals = await receiver.arrivals()
        # Nothing arrives before the group has noticed the crash.
        quiet = quiet + 1 if len(arrivals) == before > known else 0


def _judge(arrivals: Sequence[Arrival], events: int, killed_at: float) -> Crash:
    before = [each for each in arrivals if each.arrived_at < killed_at + LAG_SECONDS]
    known = {(each.number, each.sequence) for each in before}
    first_new = min(each.arrived_at for each in arrivals if (each.number, each.sequence) not in known)
    kept = order(arrivals)
    return Crash(
        sum(each.arrived_at > killed_at - ANSWER_SECONDS for each in before),
        kept.repeated,
        events - kept.events,
        _overtaken(arrivals),
        first_new - killed_at,
    )


def _overtaken(arrivals: Iterable[Arrival]) -> int:
    """The number of events that first arrived after a later event of their subscription, not counting lost events."""
    seen: set[tuple[int, int]] = set()
    last: defaultdict[int, int] = defaultdict(int)
    overtaken = 0
    for number, sequence in ((each.number, each.sequence) for each in arrivals if each.is_taken):
        if (number, sequence) not in seen:
            seen.add((number, sequence))
            overtaken += sequence < last[number]
            last[number] = max(sequence, last[number])
    return overtaken


def _row(level: str, crashes: Sequence[Crash]) -> tuple[str, ...]:
    return (
        level,
        str(len(crashes)),
        f"{median(each.in_flight for each in crashes):.0f}",
        f"{median(each.repeated for each in crashes):.0f}",
        f"{median(each.lost for each in crashes):.0f}",
        str(sum(each.out_of_order for each in crashes)),
        f"{median(each.seconds for each in crashes):.1f} s",
    )
