"""The source topics of a worker: a dispatcher for each. They share the memory, the slots and the filter index.

A worker owns partition numbers. A worker with the number 3 owns partition 3 of each source topic (runtime/assignor.py).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from pipeline.core.dispatcher import Dispatcher
from pipeline.core.log_bounds import LogBounds
from pipeline.core.ports import Matching
from pipeline.core.subscription import Subscription

_Value = TypeVar("_Value")
_Partition = TypeVar("_Partition", bound=tuple[str, int])


class TopicPartition(NamedTuple):
    """A partition of a source topic. Equal to Faust's and aiokafka's objects with the same values."""

    topic: str
    partition: int


class Sources:
    """The dispatchers of a worker.

    Args:
        dispatchers: a dispatcher for each source topic; there is at least one.
        matching: finds the subscriptions that an event matches, for all topics; None with `routing: key`. This object
            keeps it up to date.

    Attributes:
        topics: the names of the source topics, in the order of the definition.
    """

    def __init__(self, dispatchers: Sequence[Dispatcher], matching: Matching | None = None) -> None:
        self.topics = tuple(each.topic for each in dispatchers)
        self._dispatchers = {each.topic: each for each in dispatchers}
        self._matching = matching
        for each in dispatchers:
            each.peers = dispatchers

    def __iter__(self) -> Iterator[Dispatcher]:
        """Iterate over the dispatchers in the order of the definition's topics."""
        return iter(self._dispatchers.values())

    def __getitem__(self, topic: str) -> Dispatcher:
        """The dispatcher of a topic; KeyError if it is not a source topic."""
        return self._dispatchers[topic]

    @property
    def assigned(self) -> frozenset[int]:
        """The numbers of the partitions that are assigned to this worker in any topic."""
        return frozenset[int]().union(*(each.assigned for each in self))

    def partitions(self) -> set[TopicPartition]:
        """The partitions that are assigned to this worker."""
        return {TopicPartition(each.topic, number) for each in self for number in each.assigned}

    @property
    def has_opened(self) -> bool:
        """Whether the partitions of an assignment have been opened in all topics."""
        return all(each.has_opened for each in self)

    def fenced(self) -> list[TopicPartition]:
        """Partitions that Kafka has fenced although they are still assigned to this worker (runtime/membership.py)."""
        return [TopicPartition(each.topic, number) for each in self for number in each.fenced()]

    def on_subscription(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Handle a change that the registry has read."""
        if self._matching is not None:
            self._matching.update(subscription_id, subscription)
        for each in self:
            each.on_subscription(subscription_id, subscription)

    # --------------------------------------------------------------- partitions

    async def open(self, positions: Mapping[TopicPartition, int], logs: Mapping[TopicPartition, LogBounds]) -> None:
        """Open the partitions of an assignment; see `Dispatcher.open`."""
        next(iter(self)).observer.rebalanced()
        starts, known = by_topic(positions), by_topic(logs)
        await asyncio.gather(*(each.open(starts[each.topic], known[each.topic]) for each in self))

    async def drain(self, wanted: Iterable[TopicPartition], seconds: float) -> dict[TopicPartition, int]:
        """Drain partitions; see `Dispatcher.drain`."""
        numbers = by_topic(dict.fromkeys(wanted))
        found = await asyncio.gather(*(each.drain(numbers[each.topic], seconds) for each in self))
        return of_topics(zip(self.topics, found, strict=True))

    async def close(self, wanted: Iterable[TopicPartition]) -> None:
        """Close partitions; see `Dispatcher.close`."""
        numbers = by_topic(dict.fromkeys(wanted))
        await asyncio.gather(*(each.close(numbers[each.topic]) for each in self))

    # --------------------------------------------------------------- committing

    def offsets_to_commit(self) -> dict[TopicPartition, int]:
        """The offsets to commit, by partition."""
        return of_topics((each.topic, each.offsets_to_commit()) for each in self)

    def committed(self, offsets: Mapping[_Partition, int], begun_to: Mapping[_Partition, int | None]) -> int:
        """Record that these offsets were committed; see `Dispatcher.committed`."""
        ends, begun = by_topic(offsets), by_topic(begun_to)
        return sum(each.committed(ends[each.topic], begun[each.topic]) for each in self)


def by_topic(values: Mapping[_Partition, _Value]) -> defaultdict[str, dict[int, _Value]]:
    """Values of topic partitions, by topic and by number."""
    found: defaultdict[str, dict[int, _Value]] = defaultdict(dict)
    for (topic, number), value in values.items():
        found[topic][number] = value
    return found


def of_topics(values: Iterable[tuple[str, Mapping[int, _Value]]]) -> dict[TopicPartition, _Value]:
    """The inverse of `by_topic`."""
    return {TopicPartition(topic, number): value for topic, found in values for number, value in found.items()}
