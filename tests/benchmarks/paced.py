"""A steady load on a sender that is already warm: the CPU time, and the latencies of the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tests.benchmarks.arrivals import latencies
from tests.benchmarks.events import fill, in_turn, pace
from tests.benchmarks.processes import Child
from tests.benchmarks.receiver import Receiver, Stretch
from tests.benchmarks.stage import BODY_BYTES, Stage, Start

WARM_UP_EVENTS: Final = 10
"""The number of events for each subscription before the clock starts, which open connections and warm the code."""


@dataclass(frozen=True, slots=True)
class Load:
    """A steady load.

    Attributes:
        numbers: the numbers of the subscriptions, which get events in turn.
        per_second: the number of events per second for all subscriptions together.
        seconds: the duration of the load.
        lowest: the lowest number of a subscription whose events count.
    """

    numbers: Sequence[int]
    per_second: float
    seconds: float
    lowest: int = 0

    def counted(self, each: int) -> int:
        """The number of events that count if each subscription gets *each* events."""
        return each * sum(number >= self.lowest for number in self.numbers)


@dataclass(frozen=True, slots=True)
class Paced:
    """The result of a steady load: the stretch, and the sorted latencies in seconds."""

    stretch: Stretch
    latencies: Sequence[float]


async def put_under_load(stage: Stage, start: Start, receiver: Receiver, load: Load) -> Paced:
    """Start a sender on an empty topic, warm it up, then measure it under *load*."""
    topic = await stage.source()
    async with start(topic, receiver) as sender:
        await warm_up(stage, topic, receiver, sender, load)
        each = int(load.per_second * load.seconds / len(load.numbers))
        target = load.counted(each)
        await receiver.watch(sender, target, lowest=load.lowest)
        events = islice(in_turn(load.numbers), WARM_UP_EVENTS * len(load.numbers), None)
        steady = islice(events, each * len(load.numbers))
        await sender.unless_it_ends(
            pace(stage.broker, topic, steady, per_second=load.per_second, size=BODY_BYTES),
        )
        stretch = await receiver.stretch(sender, target)
        arrivals = await receiver.arrivals()
    return Paced(stretch, latencies(each for each in arrivals if _counts(each.sequence, each.number, load)))


def _counts(sequence: int, number: int, load: Load) -> bool:
    return sequence > WARM_UP_EVENTS and number >= load.lowest


async def warm_up(stage: Stage, topic: str, receiver: Receiver, sender: Child, load: Load) -> None:
    """Send the events of the warm-up, and wait until those that count have arrived."""
    target = load.counted(WARM_UP_EVENTS)
    await receiver.watch(sender, target, lowest=load.lowest)
    first = islice(in_turn(load.numbers), WARM_UP_EVENTS * len(load.numbers))
    await fill(stage.broker, topic, first, BODY_BYTES)
    await receiver.stretch(sender, target)
