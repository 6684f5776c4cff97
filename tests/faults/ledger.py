"""Judges a run: what was in the topic, what the receiver saw, and what became of each event. Pure.

lost        in the topic, and neither accepted by the receiver nor dead-lettered when everything has come to rest.
                At-most-once and none may drop an event that the receiver saw and did not accept. Such events are
                counted separately, as given up
    repeated    ended more than once: accepted twice, dead-lettered twice, or both. With at-most-once: seen more than
                once, whatever was answered, or dead-lettered twice; an event whose answer was lost may be accepted and
                dead-lettered, because at-most-once does not send it again
misordered  first seen after a later event of its subscription, topic and partition
altered     seen with another body than it has in the topic

Each event is counted once for every subscription that it is for, because with `routing: match` it may be lost for one
subscription only. Calls for a subscription that the event is not for are errors at every level (`strangers`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pipeline.core.subscription import Qos

NAMED: Final = 5
"""The largest number of events that a verdict names."""


class Delivery(NamedTuple):
    """The unit that is counted: an event (its webhook-id) for one subscription."""

    key: str
    subscription: str

    def __str__(self) -> str:
        """The form `orders-0-7 for s`."""
        return f"{self.key} for {self.subscription}"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the source topic, together with one of its subscriptions.

    Attributes:
        key: the webhook-id.
        produced_at: the producer's timestamp, Unix seconds.
        checksum: the checksum of the body (`zlib.crc32`).
    """

    key: str
    subscription: str
    topic: str
    partition: int
    offset: int
    produced_at: float
    checksum: int = 0

    @property
    def delivery(self) -> Delivery:
        """The delivery that this event counts as."""
        return Delivery(self.key, self.subscription)

    @property
    def lane(self) -> tuple[str, str, int]:
        """The lane of the event, in which events have an order: subscription, topic and partition."""
        return self.subscription, self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Call:
    """A request that the receiver has read to its end. It is logged before it is answered.

    Attributes:
        at: the time, Unix seconds.
        key: the webhook-id.
        status: the status of the answer; 0 without an answer.
        subscription: the subscription whose URL was called.
        checksum: the checksum of the body (`zlib.crc32`).
    """

    at: float
    key: str
    attempt: int
    status: int
    subscription: str
    checksum: int = 0

    @property
    def delivery(self) -> Delivery:
        """The delivery of which this call was an attempt."""
        return Delivery(self.key, self.subscription)

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver accepted the event."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the events of one level.

    Attributes:
        given_up: events that were seen but not accepted. At-most-once and none may drop such events.
        lost_of_one: the largest number of events that one subscription lost in one partition.
        misordered_of_one: the largest number of misordered events of one subscription in one partition.
        latencies: seconds from production to acceptance, sorted.
        examples: some events for each number above zero.
    """

    events: int = 0
    lost: int = 0
    repeated: int = 0
    misordered: int = 0
    altered: int = 0
    dead_lettered: int = 0
    given_up: int = 0
    lost_of_one: int = 0
    misordered_of_one: int = 0
    latencies: Sequence[float] = field(default=(), repr=False)
    examples: Mapping[str, Sequence[Delivery]] = field(default_factory=dict)

    def quantile(self, share: float) -> float:
        """The latency in seconds that this share of the accepted events did not exceed; 0 without accepted events."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def judge(
    events: Iterable[Event], calls: Iterable[Call], letters: Iterable[Delivery], level_of: Mapping[str, Qos]
) -> dict[Qos, Verdict]:
    """The verdict on each level.

    Args:
        events: all events of the topic, each once for every subscription that it is for.
        calls: all calls in the receiver's log, in order.
        letters: the events that became dead letters.
        level_of: the level of each subscription.
    """
    seen: dict[Delivery, list[Call]] = defaultdict(list)
    for call in calls:
        seen[call.delivery].append(call)
    dead = Counter(letters)
    per_level: dict[Qos, list[Event]] = defaultdict(list)
    for event in events:
        per_level[level_of[event.subscription]].append(event)
    return {level: _verdict(level, found, seen, dead) for level, found in per_level.items()}


def _verdict(
    level: Qos, events: Sequence[Event], calls: Mapping[Delivery, Sequence[Call]], dead: Counter[Delivery]
) -> Verdict:
    named: dict[str, list[Event]] = defaultdict(list)
    latencies = []
    for event in events:
        seen = calls.get(event.delivery, ())
        accepted = [call for call in seen if call.is_accepted]
        if accepted:
            latencies.append(accepted[0].at - event.produced_at)
        elif event.delivery not in dead:
            may_give_up = level in {Qos.AT_MOST_ONCE, Qos.NONE}
            named["given_up" if seen and may_give_up else "lost"].append(event)
        letters = dead[event.delivery]
        if (max(len(seen), letters) if level is Qos.AT_MOST_ONCE else len(accepted) + letters) > 1:
            named["repeated"].append(event)
        if any(call.checksum != event.checksum for call in seen):
            named["altered"].append(event)
    if level.is_ordered:
        named["misordered"] = _misordered(events, calls)
    return Verdict(
        events=len(events),
        lost=len(named["lost"]),
        repeated=len(named["repeated"]),
        misordered=len(named["misordered"]),
        altered=len(named["altered"]),
        dead_lettered=sum(1 for event in events if event.delivery in dead),
        given_up=len(named["given_up"]),
        lost_of_one=_most_of_one(named["lost"]),
        misordered_of_one=_most_of_one(named["misordered"]),
        latencies=sorted(latencies),
        examples={name: [event.delivery for event in found[:NAMED]] for name, found in named.items() if found},
    )


def _most_of_one(events: Iterable[Event]) -> int:
    return max(Counter(event.lane for event in events).values(), default=0)


def strangers(events: Iterable[Event], calls: Iterable[Call], letters: Iterable[Delivery]) -> list[Delivery]:
    """Calls and dead letters for events that do not exist, or that are not for the subscription of the call."""
    return sorted({*(call.delivery for call in calls), *letters} - {event.delivery for event in events})


def _misordered(events: Sequence[Event], calls: Mapping[Delivery, Sequence[Call]]) -> list[Event]:
    lanes: dict[tuple[str, str, int], list[Event]] = defaultdict(list)
    for event in events:
        if event.delivery in calls:
            lanes[event.lane].append(event)
    late = []
    for lane in lanes.values():
        earliest = float("inf")  # the first arrival of any later event
        for event in sorted(lane, key=lambda each: each.offset, reverse=True):
            first = calls[event.delivery][0].at
            if first > earliest:
                late.append(event)
            earliest = min(earliest, first)
    return late


@dataclass(frozen=True, slots=True)
class Promise:
    """The promises that must hold in a run.

    At every level, nothing is altered. At-least-once loses and misorders nothing; at-most-once repeats nothing. Without
    *interrupted* and *refused*, at-least-once also repeats nothing, and at-most-once and auto lose nothing.

    Attributes:
        interrupted: a process was killed, paused or cut off, or connections broke during requests. At-least-once and
            auto may repeat; auto may lose.
        refused: a receiver refused or gave no answers. At-most-once may drop events that it has sent.
        lost_at_most_once: how many events of each subscription and partition at-most-once may lose unseen, because they
            were claimed and not sent.
        late_at_most_once: how many events of each subscription and partition at-most-once may send late: a worker that
            is paused between the claim of an event and its request sends the event when it continues.
    """

    interrupted: bool = False
    refused: bool = False
    lost_at_most_once: int = 0
    late_at_most_once: int = 0

    def broken(self, verdicts: Mapping[Qos, Verdict]) -> list[str]:
        """A sentence for each promise that does not hold."""
        problems = []
        for level, verdict in verdicts.items():
            for name, most in self._allowed(level).items():
                count = getattr(verdict, name)
                if count > most:
                    examples = ", ".join(map(str, verdict.examples.get(name.removesuffix("_of_one"), ())))
                    problems.append(f"{level}: {count} {name.replace('_', ' ')}, allowed {most}: {examples}")
        return problems

    def _allowed(self, level: Qos) -> dict[str, int]:
        allowed = {"altered": 0}
        match level:
            case Qos.AT_LEAST_ONCE:
                allowed |= {"lost": 0, "misordered": 0}
                if not self.interrupted:
                    allowed["repeated"] = 0
            case Qos.AT_MOST_ONCE:
                allowed["repeated"] = 0
                allowed |= {"lost_of_one": self.lost_at_most_once, "misordered_of_one": self.late_at_most_once}
                if not (self.interrupted or self.refused):
                    allowed["given_up"] = 0
            case Qos.AUTO:
                if not self.interrupted:
                    allowed["lost"] = 0
            case Qos.NONE:
                pass
        return allowed

    def __add__(self, other: "Promise") -> "Promise":
        """The promises that hold if both faults happen."""
        return Promise(
            interrupted=self.interrupted or other.interrupted,
            refused=self.refused or other.refused,
            lost_at_most_once=self.lost_at_most_once + other.lost_at_most_once,
            late_at_most_once=self.late_at_most_once + other.late_at_most_once,
        )
