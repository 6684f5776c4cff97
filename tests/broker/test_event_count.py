"""Counting the events of several subscriptions, each in a separate range, on each kind of broker."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence

import pytest

from pipeline.core.model import Event
from pipeline.core.ports import Matching
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Subscription
from pipeline.kafka.event_count import EventCounter
from tests.support.brokers import TestBroker

pytestmark = pytest.mark.timeout(120)

ONE, TWO, NONE = b"one", b"two", b"none"
RANGES = {ONE: (0, 4), TWO: (1, 9), NONE: (0, 10), b"empty": (6, 6)}
"""`ONE` has the even offsets up to 9, and `TWO` the odd ones."""


class Everyone(Matching):
    """A matching in which every event matches all subscriptions."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def update(self, subscription_id: str, subscription: Subscription | None) -> None:
        raise NotImplementedError

    def keys(self, event: Event, among: Collection[bytes] | None = None) -> Sequence[bytes]:
        self.seen.append(event.offset)
        return tuple(among or ())


@pytest.fixture
async def tp(broker: TestBroker, unique_name: Callable[[str], str]) -> TopicPartition:
    topic = await broker.create_topic(unique_name("events"))
    await broker.produce(topic, *[(TWO if number % 2 else ONE, b"") for number in range(10)], partition=0)
    return TopicPartition(topic, 0)


@pytest.fixture
async def counter(broker: TestBroker) -> AsyncIterator[EventCounter]:
    async with EventCounter(broker.connection, "read_committed") as opened:
        yield opened


async def test_events_are_counted_in_the_range_of_each_subscription(tp: TopicPartition, counter: EventCounter) -> None:
    assert await counter.count_each(tp, RANGES, None) == {ONE: 2, TWO: 4, NONE: 0, b"empty": 0}
    assert await counter.count_each(tp, RANGES, Everyone()) == {ONE: 4, TWO: 8, NONE: 10, b"empty": 0}
    assert await counter.count_each(tp, {ONE: (3, 3)}, None) == {ONE: 0}


async def test_an_empty_range_reads_no_further_events(tp: TopicPartition, counter: EventCounter) -> None:
    everyone = Everyone()
    assert await counter.count_each(tp, {ONE: (7, 9), b"before": (0, 0), b"after": (10, 10)}, everyone) == {
        ONE: 2,
        b"before": 0,
        b"after": 0,
    }
    assert everyone.seen == [7, 8]
    assert await counter.count_each(tp, {}, everyone) == {}


async def test_the_first_event_in_a_range_is_found(tp: TopicPartition, counter: EventCounter) -> None:
    assert await counter.first(tp, TWO, 2, 10, None) == 3
    assert await counter.first(tp, TWO, 2, 3, None) is None
    assert await counter.first(tp, TWO, 2, 3, Everyone()) == 2
