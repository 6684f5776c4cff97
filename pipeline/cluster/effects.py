"""Previews the effect of a command in each partition, for the command line and the API.

The numbers are upper bounds, because lanes continue to deliver. A user who lacks a right to read can still run a
command; the preview then says what is unknown.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import KafkaError

from pipeline.cluster.positions import Position
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.addressed import AddressedMatching
from pipeline.core.errors import BrokerError, ConfigurationError, ConflictError
from pipeline.core.matching import SubscriptionIndex
from pipeline.core.model import Status
from pipeline.core.ports import Matching
from pipeline.core.shown import as_partitions
from pipeline.core.sources import TopicPartition
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.admin import unreachable
from pipeline.kafka.event_count import EventCounter
from pipeline.kafka.topics import end_offset, partitions_of

COUNT_SECONDS: Final = 5.0
"""The time limit for counting events. After it, offsets are counted instead, which give an upper bound."""


@dataclass(frozen=True, slots=True)
class SourceOffset:
    """An offset in a source topic.

    With *is_event*, an event must exist at the offset, so it can't be the end of the log.
    """

    topic: str
    partition: int
    offset: int
    is_event: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """The state before a command, or the command's effect, in one partition."""

    topic: str
    partition: int
    sentence: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Events:
    """The events of subscriptions in the source topics.

    Attributes:
        matching: finds the subscriptions of an event; None with `routing: key`.
        deadline: the time at which reading the log ends, by the event loop's clock.
    """

    counter: EventCounter
    matching: Matching | None
    deadline: float

    async def count(self, tp: TopicPartition, ranges: Mapping[str, tuple[int, int]]) -> Mapping[str, int]:
        """The number of events of each subscription in its range, or an upper bound. The log is read only once."""
        try:
            async with asyncio.timeout_at(self.deadline):
                wanted = {name.encode(): offsets for name, offsets in ranges.items()}
                found = await self.counter.count_each(tp, wanted, self.matching)
                return {key.decode(): number for key, number in found.items()}
        except (KafkaError, OSError):  # a TimeoutError is an OSError
            return {name: max(0, end - start) for name, (start, end) in ranges.items()}

    async def first(self, tp: TopicPartition, subscription: str, start: int, end: int) -> int | None:
        """The offset of a subscription's first event in a range; *end* if there is none, None after the deadline."""
        try:
            async with asyncio.timeout_at(self.deadline):
                found = await self.counter.first(tp, subscription.encode(), start, end, self.matching)
        except (KafkaError, OSError):
            return None
        return end if found is None else found


@asynccontextmanager
async def opened_events(
    settings: Settings, definition: Definition, subscriptions: Iterable[Subscription]
) -> AsyncIterator[Events]:
    """The events of these subscriptions, which can be read for a limited time.

    Raises:
        BrokerError: the brokers do not answer, or no routing is configured.
    """
    source, matching = definition.source, None
    if definition.stated_routing is None:
        raise BrokerError("the definition has no routing, so it is unknown which subscription gets which event")
    if definition.stated_routing is Routing.MATCH:
        matching = AddressedMatching(SubscriptionIndex(), settings.webhook_ids)
        for each in subscriptions:
            matching.update(each.id, each)
    deadline = asyncio.get_running_loop().time() + COUNT_SECONDS
    try:
        async with EventCounter(source.connection, source.isolation_level) as counter:
            yield Events(counter, matching, deadline)
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error


async def effect_of_skip(
    settings: Settings,
    definition: Definition,
    subscription: Subscription,
    found: Iterable[Position],
    skipped: tuple[TopicPartition, int],
) -> list[Effect]:
    """The effect of skipping the event at an offset of a partition.

    Raises:
        ConflictError: the event is not the next one.
        BrokerError: the brokers can't be asked.
    """
    tp, offset = skipped
    each = next((each for each in found if each.tp == tp), None)
    if each is None:
        return []
    if each.next is None:
        return [_not_known(each)]
    async with opened_events(settings, definition, [subscription]) as events:
        first = await events.first(tp, subscription.id, each.next, each.end)
    earliest = each.next if first is None else first
    is_halted = each.status not in {None, Status.STARTED}
    if offset < earliest or (is_halted and first is not None and offset != first):
        allowed = earliest if earliest < each.end else "none, because no event is waiting there"
        raise ConflictError(
            f"offset: {offset} is not the next event in partition {tp.partition}; allowed: {allowed}; "
            "nothing was changed"
        )
    condition = "" if offset == first else ", if it is the next event by then"
    if first is not None and offset != first:
        condition += f"; the next one is now {first}"
    facts = {"next": earliest, "skipped": offset}
    return [Effect(tp.topic, tp.partition, f"skips the event at {offset}{condition}", facts)]


async def count_waiting(
    settings: Settings,
    definition: Definition,
    subscriptions: Sequence[Subscription],
    found: Mapping[str, Sequence[Position]],
) -> dict[str, list[Effect]]:
    """For each subscription, how many events wait in each partition.

    Raises:
        BrokerError: the brokers can't be asked.
    """
    ranges: dict[TopicPartition, dict[str, tuple[int, int]]] = {}
    for name, positions in found.items():
        for each in positions:
            if each.next is not None:
                ranges.setdefault(each.tp, {})[name] = (each.next, each.end)
    async with opened_events(settings, definition, subscriptions) as events:
        counts = {tp: await events.count(tp, wanted) for tp, wanted in ranges.items()}
    return {
        name: [_waiting(each, counts.get(each.tp, {}).get(name, 0)) for each in positions]
        for name, positions in found.items()
    }


def _waiting(each: Position, number: int) -> Effect:
    if each.next is None:
        return _not_known(each)
    wait = f"{_up_to(number)} waiting, from {each.next} on" if number else "no events waiting"
    status = None if each.status is None else each.status.value
    state = "" if each.status in (None, Status.STARTED) else f"{status}, "
    facts = {"status": status, "next": each.next, "waitingAtMost": number}
    return Effect(each.topic, each.partition, f"{state}{wait}", facts)


async def effects_of_replay(
    settings: Settings,
    definition: Definition,
    subscription: Subscription,
    found: Iterable[Position],
    offsets: Mapping[TopicPartition, int | None],
    *,
    discards: bool,
    option: str = "--discard-waiting",
) -> list[Effect]:
    """The effect of a replay in each partition of *offsets*; None in place of an offset is the end of the log.

    *option* is the name of the option that discards waiting events.

    Raises:
        ConflictError: the replay would only discard waiting events, and *discards* is not set.
        BrokerError: the brokers can't be asked.
    """
    effects, stays, moves = [], [], False
    async with opened_events(settings, definition, [subscription]) as events:
        for each in found:
            if each.tp not in offsets:
                continue
            if each.next is None:
                moves = True  # the position may move
                effects.append(_not_known(each))
                continue
            wanted = offsets[each.tp]
            start = each.end if wanted is None else min(wanted, each.end)
            span = (min(start, each.next), max(start, each.next))
            number = (await events.count(each.tp, {subscription.id: span}))[subscription.id]
            effect = _effect_of_replay(each.tp, each.next, start, number, None if discards else option)
            effects.append(effect)
            moves |= start <= each.next or discards
            if not (start <= each.next or discards) and number:
                stays.append(effect)
    if stays and not moves:
        raise ConflictError(as_lines(stays, definition))
    return effects


def _effect_of_replay(tp: TopicPartition, here: int, start: int, number: int, option: str | None) -> Effect:
    if start <= here:
        what = f"sends {_up_to(number)} again, offsets {start} to {here - 1}" if number else "sends no events again"
        return Effect(tp.topic, tp.partition, what, {"next": here, "from": start, "sentAgainAtMost": number})
    if option is None:
        what = f"discards {_up_to(number)}, offsets {here} to {start - 1}" if number else "discards no events"
        return Effect(tp.topic, tp.partition, what, {"next": here, "from": start, "discardedAtMost": number})
    what = (
        f", because of {_up_to(number)} waiting before {start}; {option} discards them"
        if number
        else f"; no events are waiting before {start}"
    )
    return Effect(
        tp.topic, tp.partition, f"stays at {here}{what}", {"next": here, "from": here, "waitingAtMost": number}
    )


async def offsets_since(
    definition: Definition, tps: Iterable[TopicPartition], timestamp_ms: int
) -> dict[TopicPartition, int | None]:
    """For each partition, the first offset at or after a time; None if there is none.

    Raises:
        BrokerError: the brokers can't be asked.
    """
    source = definition.source
    try:
        async with EventCounter(source.connection, source.isolation_level) as counter:
            return {tp: await counter.offset_at(tp, timestamp_ms) for tp in tps}
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error


async def check_exists(definition: Definition, target: SourceOffset) -> None:
    """Check that an offset exists in its source topic.

    Raises:
        ConfigurationError: the offset does not exist.
        BrokerError: the brokers can't be asked.
    """
    source = definition.source
    found = await partitions_of(source.connection, target.topic)
    if target.partition >= found.count:
        raise ConfigurationError(
            f"partition: {target.partition} is not in topic {target.topic}; allowed: 0 to {found.count - 1}"
        )
    if target.partition in found.leaderless:
        raise BrokerError(f"topic {target.topic}: partition {target.partition} has no leader; nothing was changed")
    end = await end_offset(source.connection, target.topic, target.partition)
    last = end - target.is_event
    if target.offset > last:
        allowed = f"0 to {last}" if last >= 0 else "none, because it has no events"
        raise ConfigurationError(
            f"offset: {target.offset} is not in partition {target.partition} of topic {target.topic}; "
            f"allowed: {allowed}"
        )


def as_lines(effects: Iterable[Effect], definition: Definition) -> list[str]:
    """The effects as lines.

    Partitions of a topic with equal effects share a line, which names the topic if there are several.
    """
    alike: dict[tuple[str, str | None], list[int]] = {}
    for each in effects:
        topic = each.topic if definition.source.others else None
        alike.setdefault((each.sentence, topic), []).append(each.partition)
    return [f"{as_partitions(numbers, topic)}: {sentence}" for (sentence, topic), numbers in alike.items()]


def _not_known(each: Position) -> Effect:
    return Effect(each.topic, each.partition, f"the position is unknown: {each.unknown}", {"problem": each.unknown})


def _up_to(number: int) -> str:
    return f"up to {number} event{'' if number == 1 else 's'}"
