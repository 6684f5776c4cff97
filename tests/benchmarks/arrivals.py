"""What reached the receiver, as facts; and what follows from them."""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

LAYOUT: Final = struct.Struct("<IIHdd")
"""How an arrival travels from the receiver's process: the fields of `Arrival` in their order."""

NO_ANSWER: Final = 0


class Arrival(NamedTuple):
    """One request that came in.

    Attributes:
        number: of the subscription.
        sequence: of the event among those of its subscription, from 1.
        status: what was answered; `NO_ANSWER` where the receiver hangs.
        produced_at: Unix seconds, from the body.
        arrived_at: Unix seconds, by the same clock.
    """

    number: int
    sequence: int
    status: int
    produced_at: float
    arrived_at: float

    @property
    def is_taken(self) -> bool:
        """Answered with a success."""
        return 200 <= self.status < 300


def unpack(data: bytes) -> list[Arrival]:
    """The arrivals in *data*, in the order in which they came in."""
    return [Arrival._make(fields) for fields in LAYOUT.iter_unpack(data)]


@dataclass(frozen=True, slots=True)
class Order:
    """How well the order and the number of events were kept.

    Attributes:
        events: distinct events that were taken.
        repeated: arrivals of an event that had been taken already.
        out_of_order: events that were not taken directly after their predecessor.
    """

    events: int
    repeated: int
    out_of_order: int

    def __str__(self) -> str:
        return f"{self.events:,} events, {self.repeated:,} repeated, {self.out_of_order:,} out of order"


def order(arrivals: Iterable[Arrival]) -> Order:
    """Judge the arrivals that were taken, subscription by subscription."""
    seen: defaultdict[int, set[int]] = defaultdict(set)
    last: defaultdict[int, int] = defaultdict(int)
    repeated = out_of_order = 0
    for arrival in arrivals:
        if not arrival.is_taken:
            continue
        number, sequence = arrival.number, arrival.sequence
        if sequence in seen[number]:
            repeated += 1
            continue
        out_of_order += sequence != last[number] + 1
        seen[number].add(sequence)
        last[number] = sequence
    return Order(sum(map(len, seen.values())), repeated, out_of_order)


def latencies(arrivals: Iterable[Arrival]) -> list[float]:
    """Seconds from production to arrival, in growing order."""
    return sorted(arrival.arrived_at - arrival.produced_at for arrival in arrivals)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of *ordered* that is not exceeded by *share* (0 to 1) of them (nearest rank)."""
    return ordered[max(0, min(len(ordered) - 1, -int(-len(ordered) * share // 1) - 1))]
