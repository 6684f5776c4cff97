"""Whom the events of the load are for: as filters for the pipeline, and apart from it as the ledger counts. Pure.

    routing: key      the subscription that the key names
    routing: match    the same; and in every tenth round of the load (sequence 0, 10, 20…) all subscriptions

With `match` an event is for one subscription or for all of them, and each subscription has a lane in each partition.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRecord

from pipeline.core.subscription import Qos, Routing


@dataclass(frozen=True, slots=True)
class Choice:
    """The events that a subscription chooses.

    Attributes:
        filter: says so to the pipeline; None where it is not asked.
        has: says so to the ledger, of a key and a sequence (load.event).
    """

    filter: Mapping[str, Any] | None
    has: Callable[[str, int], bool]


def chosen(routing: Routing, name: str) -> Choice:
    """What a subscription of the load chooses."""
    if routing is Routing.KEY:
        return Choice(None, lambda key, _: key == name)
    return Choice(
        {"any": [{"exact": {"key": name}}, {"suffix": {"/sequence": "0"}}]},
        lambda key, sequence: key == name or sequence % 10 == 0,
    )


def with_key(wanted: str) -> Choice:
    """The events with one key."""
    return Choice({"exact": {"key": wanted}}, lambda key, _: key == wanted)


def in_rounds(first: int, count: int) -> Choice:
    """All events of so many rounds."""
    rounds = range(max(0, first), first + count)
    return Choice({"exact": {"/sequence": [str(each) for each in rounds]}}, lambda _, sequence: sequence in rounds)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscription as the ledger knows it.

    Attributes:
        starts: by topic and partition, the first offset that is for it, as its record says; a partition that is not
            named is for it as a whole.
        made_at: when it was there, in Unix seconds. Whatever its record says, what was produced later is for it.
    """

    level: Qos
    choice: Choice
    starts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    made_at: float = float("inf")

    def is_owed(self, record: ConsumerRecord[bytes, bytes], key: str, sequence: int) -> bool:
        """Whether an event, with its key and sequence, has to reach it."""
        starts = self.starts.get(record.topic, ())
        begins = starts[record.partition] if record.partition < len(starts) else 0
        if record.offset < begins and record.timestamp / 1000 <= self.made_at:
            return False
        return self.choice.has(key, sequence)


Audience = Callable[[ConsumerRecord[bytes, bytes]], Iterable[str]]
"""The names of the subscriptions that an event is for."""


def key_alone(record: ConsumerRecord[bytes, bytes]) -> Iterable[str]:
    """The subscription that the key names."""
    return [(record.key or b"").decode()]


def audience_of(subscribers: Mapping[str, Subscriber]) -> Audience:
    """Whoever of *subscribers* an event is owed to."""

    def audience(record: ConsumerRecord[bytes, bytes]) -> Iterable[str]:
        key, sequence = (record.key or b"").decode(), json.loads(record.value or b"{}")["sequence"]
        return [name for name, subscriber in subscribers.items() if subscriber.is_owed(record, key, sequence)]

    return audience
