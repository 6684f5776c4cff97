"""The cost of finding the subscriptions that want an event: with the index, and by evaluating every filter.

    python -m tests.benchmarks.bench_matching [EVENTS]

Prints the CPU time per event of 200 bytes with six headers. The ratios are the same on each machine, the microseconds
are not.
"""

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import PlainEvent
from pipeline.core.subscription import Subscription
from pipeline.subscriptions.filters import event_filter
from tests.benchmarks.procfs import memory

ROUNDS: Final = 31
DEFAULT_EVENTS: Final = 2_000
MANY: Final = 100_000
BASE: Final = "1,000 subscriptions, 10 want its type"
TYPES: Final = 100
"""The number of event types that follow each other in turn. They are spread over the whole index."""

BODY: Final = json.dumps({"customer": {"id": 7}, "text": "x" * 170}).encode()
PLACES: Final = ("type", "source", "key", "header.region", "header.tenant")

Document = dict[str, Any] | None
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Stock:
    """A set of subscriptions: their number, the filter of each by its number, and the number of types of events."""

    name: str
    count: int
    document: Callable[[int], Document]
    types: int = TYPES

    def events(self) -> Iterator[PlainEvent]:
        """An endless sequence of events."""
        return cycle([event(number * self.types // TYPES) for number in range(TYPES)])

    def subscriptions(self) -> list[Subscription]:
        """Make all subscriptions of this set."""
        return [
            Subscription(
                f"sub-{number:06}",
                number,
                "https://receiver.test",
                filter=None if (document := self.document(number)) is None else event_filter(document, "filter"),
            )
            for number in range(self.count)
        ]


def event(number: int) -> PlainEvent:
    """An event whose type has this number."""
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", b"4711"),
        ("ce_source", b"/shops/1"),
        ("ce_type", b"type-%d" % number),
        ("content-type", b"application/json"),
        ("traceparent", b"00-ab-cd-01"),
    )
    return PlainEvent("events", 0, 1, b"order-1", BODY, headers)


def by_type(number: int) -> Document:
    """The filter of a subscription. Ten subscriptions want each type."""
    return {"exact": {"type": f"type-{number // 10}"}}


STOCKS: Final = (
    Stock(BASE, 1_000, by_type),
    Stock("100,000 subscriptions, 10 want its type", MANY, by_type, types=MANY // 10),
    Stock(
        "100,000, 1,000 want its type, 10 its customer in the body",
        MANY,
        lambda n: {"exact": {"/customer/id": str(n // 1_000), "type": f"type-{n % TYPES}"}},
    ),
    Stock("1,000, 10 want the prefix of its type", 1_000, lambda n: {"prefix": {"type": f"type-{n // 10}"}}),
    Stock("100 subscriptions without filter", 100, lambda _: None),
    Stock("no subscription wants it, filters look at its type", 1_000, lambda n: {"exact": {"type": f"no-{n // 10}"}}),
    Stock(
        f"no subscription wants it, filters look at {len(PLACES)} places",
        1_000,
        lambda n: {"exact": {PLACES[n % len(PLACES)]: f"no-{n // 10}"}},
    ),
)


def index_of(subscriptions: list[Subscription]) -> SubscriptionIndex:
    """The index that a worker with these subscriptions has."""
    made = SubscriptionIndex()
    for each in subscriptions:
        made.update(each.id, each)
    return made


def finding(index: SubscriptionIndex, events: Iterator[PlainEvent]) -> Call:
    """A call that finds the subscriptions of the next event with the index."""
    return lambda: index.keys(next(events))


def asking(subscriptions: list[Subscription], events: Iterator[PlainEvent]) -> Call:
    """A call that evaluates every filter for the next event."""

    def ask() -> list[str]:
        record = next(events)
        return [each.id for each in subscriptions if each.filter is None or each.filter(record)]

    return ask


def changing(index: SubscriptionIndex, subscription: Subscription, events: Iterator[PlainEvent]) -> Call:
    """A call that deletes a subscription, adds it again, and finds the subscriptions of the next event."""

    def change() -> None:
        index.update(subscription.id, None)
        index.update(subscription.id, subscription)
        index.keys(next(events))

    return change


def microseconds(call: Call, calls: int) -> float:
    """The CPU time of one call in microseconds."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1e6


def main() -> None:
    """Measure all sets of subscriptions, and print the table."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_EVENTS
    ways: dict[str, tuple[Call, int]] = {}
    for stock in STOCKS:
        subscriptions = stock.subscriptions()
        before, began = memory(os.getpid()).resident_bytes, time.process_time()
        index = index_of(subscriptions)
        if stock.count == MANY:
            seconds, size = time.process_time() - began, memory(os.getpid()).resident_bytes - before
            print(f"{stock.name}: made in {seconds:.1f} s, {size / stock.count:,.0f} bytes each")
            ways[f"change one of: {stock.name}"] = changing(index, subscriptions[75], stock.events()), events // 10
        ways[stock.name] = finding(index, stock.events()), events
        if stock.name == BASE:
            ways["the same, every filter asked"] = asking(subscriptions, stock.events()), events // 100
    gc.disable()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (call, calls) in ways.items():
            taken[name].append(microseconds(call, calls))
    base = statistics.median(taken[BASE])
    for name, each in taken.items():
        median = statistics.median(each)
        print(f"{name:72} {median:8.1f} us (best {min(each):7.1f})   {median / base:7.2f}")


if __name__ == "__main__":
    main()
