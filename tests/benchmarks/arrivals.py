"""The requests that reached the receiver, and their order and latencies."""

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

LAYOUT: Final = struct.Struct("<IIHdd")
"""The encoding in which the receiver's process sends an arrival: the fields of `Arrival` in their order."""

NO_ANSWER: Final = 0


class Arrival(NamedTuple):
    """A request that reached the receiver.

    Attributes:
        number: the number of the subscription.
        sequence: the number of the event among the events of its subscription, from 1.
        status: the status of the answer; `NO_ANSWER` if the receiver hangs.
        produced_at: the time in the body of the event, Unix seconds.
        arrived_at: the time of the arrival by the same clock, Unix seconds.
    """

    number: int
    sequence: int
    status: int
    produced_at: float
    arrived_at: float

    @property
    def is_taken(self) -> bool:
        """Whether the receiver answered with a success, which makes the event taken."""
        return 200 <= self.status < 300


def unpack(data: bytes) -> list[Arrival]:
    """Decode the arrivals in *data*, which are in the order in which they reached the receiver."""
    return [Arrival._make(fields) for fields in LAYOUT.iter_unpack(data)]


@dataclass(frozen=True, slots=True)
class Order:
    """How many events were taken, and how many of them repeatedly or out of order.

    Attributes:
        events: the number of different events that were taken.
        repeated: the number of arrivals whose event had been taken before.
        out_of_order: the number of events that were not taken directly after the previous event of their subscription.
    """

    events: int
    repeated: int
    out_of_order: int

    def __str__(self) -> str:
        return f"{self.events:,} events, {self.repeated:,} repeated, {self.out_of_order:,} out of order"


def order(arrivals: Iterable[Arrival]) -> Order:
    """Check the order of the arrivals that were taken, for each subscription separately."""
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
    """The seconds from the production of each event to its arrival, sorted."""
    return sorted(arrival.arrived_at - arrival.produced_at for arrival in arrivals)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the sorted values *ordered* up to which at least *share* (0 to 1) of them lie (nearest rank)."""
    return ordered[max(0, min(len(ordered) - 1, -int(-len(ordered) * share // 1) - 1))]
