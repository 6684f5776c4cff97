"""Defines which subscriptions get an event of the load, in two independent ways: by filters, and for the ledger. Pure.

    routing: key      the subscription that the key names
    routing: match    this subscription; in every tenth round of the load (sequence 0, 10, 20…) all subscriptions

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
    """The events that a subscription is for.

    Attributes:
        filter: selects the events in the pipeline; None: no filter.
        has: selects the events for the ledger, by key and sequence (load.event).
    """

    filter: Mapping[str, Any] | None
    has: Callable[[str, int], bool]


def chosen(routing: Routing, name: str) -> Choice:
    """The events that a subscription of the load is for."""
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
    """All events of *count* rounds."""
    rounds = range(max(0, first), first + count)
    return Choice({"exact": {"/sequence": [str(each) for each in rounds]}}, lambda _, sequence: sequence in rounds)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscription in the ledger.

    Attributes:
        starts: the first offset for the subscription in each partition of each topic, from its record. A partition
            without an offset is for the subscription from the partition's first event.
        made_at: a time at which the subscription existed, Unix seconds. All events that were produced later are for the
            subscription, even if its record says otherwise.
    """

    level: Qos
    choice: Choice
    starts: Mapping[str, Sequence[int]] = field(default_factory=dict)
    made_at: float = float("inf")

    def is_owed(self, record: ConsumerRecord[bytes, bytes], key: str, sequence: int) -> bool:
        """Whether an event with this key and sequence has to reach the subscription."""
        starts = self.starts.get(record.topic, ())
        begins = starts[record.partition] if record.partition < len(starts) else 0
        if record.offset < begins and record.timestamp / 1000 <= self.made_at:
            return False
        return self.choice.has(key, sequence)


Audience = Callable[[ConsumerRecord[bytes, bytes]], Iterable[str]]
"""Returns the names of the subscriptions that an event is for."""


def key_alone(record: ConsumerRecord[bytes, bytes]) -> Iterable[str]:
    """Only the subscription that the key names."""
    return [(record.key or b"").decode()]


def audience_of(subscribers: Mapping[str, Subscriber]) -> Audience:
    """The *subscribers* that an event has to reach."""

    def audience(record: ConsumerRecord[bytes, bytes]) -> Iterable[str]:
        key, sequence = (record.key or b"").decode(), json.loads(record.value or b"{}")["sequence"]
        return [name for name, subscriber in subscribers.items() if subscriber.is_owed(record, key, sequence)]

    return audience
