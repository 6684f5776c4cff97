"""The position of a subscription in each partition, and a preview of a command's effect there.

The positions are those that the workers recorded. Lanes that deliver move on meanwhile, so the numbers are upper
bounds. A command also works for a user who may not read everything; its preview then says what is unknown.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.cli.noted import read_noted
from pipeline.cli.output import Format, say
from pipeline.cli.running import configured
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Status
from pipeline.core.subscription import Filter, Routing, Subscription
from pipeline.kafka.admin import administration, find_partitions, partition_counts, unreachable
from pipeline.kafka.event_count import EventCounter
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topics import Source, cursors_topic

COUNT_SECONDS: Final = 5.0
"""How long events are counted. After that, offsets are counted instead, which is still an upper bound."""


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a subscription in one partition.

    Attributes:
        next: the first unsettled offset; None if unknown.
        status: in its cursor row; None without a row.
        end: of the log.
        unknown: why `next` is unknown.
    """

    partition: int
    next: int | None
    status: Status | None
    end: int
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """What a command finds or does in one partition, as a sentence for people and as facts for programs."""

    partition: int
    sentence: str
    facts: Mapping[str, object] = field(default_factory=dict)


class Count(Protocol):
    """Counts the subscription's events in a range of the log, or returns an upper bound."""

    async def __call__(self, partition: int, start: int, end: int) -> int:
        """The number from *start* up to *end* (exclusive)."""
        ...


@dataclass(frozen=True, slots=True)
class Preview:
    """The effects of a command in the partitions of a subscription, shown before anything is written.

    Attributes:
        effects: computes them; may raise ConfigurationError to refuse the command.
        is_always_shown: on stderr, even with JSON output.
    """

    subscription: str
    effects: Callable[[Subscription, list[Position]], Awaitable[list[Effect]]]
    is_always_shown: bool = False

    async def show(self, subscription: Subscription, output: Format) -> list[Effect] | str:
        """Print and return the effects; if they are unknown, say why and continue, because the command works anyway.

        Raises:
            ConfigurationError: the command is refused.
        """
        try:
            effects = await self.effects(subscription, await find_positions(*configured(), subscription))
        except BrokerError as error:
            say(f"the effect in each partition is unknown: {error}", err=True)
            return str(error)
        if output == "table" or self.is_always_shown:
            for line in as_lines(effects):
                say(line, err=True)
        return effects


def preview_of_waiting(subscription: str) -> Preview:
    """A preview that shows how many events are waiting."""
    return Preview(subscription, lambda each, found: count_waiting(configured()[1], each, found))


def preview_as_json(effects: list[Effect] | str | None) -> dict[str, object]:
    """The result of `Preview.show` as JSON."""
    match effects:
        case None:
            return {}
        case str():
            return {"partitions": None, "problem": effects}
        case _:
            return {"partitions": [{"partition": each.partition, **each.facts} for each in effects]}


async def find_positions(settings: Settings, definition: Definition, subscription: Subscription) -> list[Position]:
    """The position of a subscription in each partition of the source topic.

    Raises:
        BrokerError: the brokers can't be asked for the partitions.
    """
    source = definition.source
    noted = await read_noted(settings, definition, subscription.id)
    leaderless, logs = await _leaderless(source, cursors_topic(settings.app)), await _logs(source)
    if isinstance(noted, str):
        return [Position(number, None, None, log.end, noted) for number, log in logs.items()]
    rows = {row.partition: row.cursor for row in noted.get(subscription.id, [])}
    without = [number for number in logs if number not in rows]
    committed = await _committed(source, settings.app, without)
    found = []
    for number, log in logs.items():
        if number in leaderless:
            found.append(Position(number, None, None, log.end, leaderless[number]))
        elif number in rows:
            row = rows[number]
            found.append(
                Position(number, None, None, log.end, "its row can't be read")
                if row is None
                else Position(number, row.next, row.status, log.end)
            )
        elif isinstance(committed, str):
            found.append(Position(number, None, None, log.end, committed))
        elif number in committed:
            # With `match`, what is before its beginning is not for it.
            start = subscription.start_in(source.topic, number, log.topic_id) or 0
            found.append(Position(number, max(committed[number], start), None, log.end))
        else:
            found.append(Position(number, None, None, log.end, "no worker has started there yet"))
    return found


async def _leaderless(source: Source, rows: str) -> dict[int, str]:
    """The partitions whose end or rows are unknown because there is no leader, with a sentence that says so."""
    async with administration(source.connection) as admin:
        found = await find_partitions(admin)
    return {
        number: f"partition {number} of topic {name} has no leader"
        for name in (rows, source.topic)
        if name in found
        for number in found[name].leaderless
    }


async def _logs(source: Source) -> dict[int, LogBounds]:
    async with administration(source.connection) as admin:
        count = (await partition_counts(admin)).get(source.topic, 0)
    log = SourceLog(source.connection, source.topic)
    try:
        return await log.look_once(range(count)) or {}
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error
    finally:
        await log.close()


async def _committed(source: Source, group: str, numbers: Sequence[int]) -> dict[int, int] | str:
    """The offsets of the group, or why they can't be read."""
    if not numbers:
        return {}
    tps = [TopicPartition(source.topic, number) for number in numbers]
    try:
        async with administration(source.connection) as admin:
            offsets = await admin.list_consumer_group_offsets(group, partitions=tps)
    except BrokerError as error:
        return str(error)
    if len(offsets) < len(tps):
        return f"the offsets of the group {group} can't be read"
    return {tp.partition: found.offset for tp, found in offsets.items() if found.offset >= 0}


@asynccontextmanager
async def _counting(definition: Definition, subscription: Subscription) -> AsyncIterator[Count]:
    source, wanted = definition.source, _wanted(definition, subscription)
    deadline = asyncio.get_running_loop().time() + COUNT_SECONDS
    try:
        async with EventCounter(source.connection, source.topic, source.isolation_level) as counter:

            async def count(partition: int, start: int, end: int) -> int:
                try:
                    async with asyncio.timeout_at(deadline):
                        return await counter.count(partition, wanted, start, end) if start < end else 0
                except (KafkaError, OSError):  # a TimeoutError is an OSError
                    return end - start

            yield count
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error


def _wanted(definition: Definition, subscription: Subscription) -> bytes | Filter:
    """Which events are for the subscription: those with its key, or those that its topics and filter match.

    Raises:
        BrokerError: the definition does not say.
    """
    match definition.stated_routing:
        case None:
            raise BrokerError("the definition does not say its routing, and so not which events are for whom")
        case Routing.KEY:
            return subscription.id.encode()
        case Routing.MATCH:
            topics, passes = subscription.topics, subscription.filter
            return lambda event: (topics is None or event.topic in topics) and (passes is None or passes(event))


def effect_of_skip(found: Iterable[Position], partition: int, offset: int) -> list[Effect]:
    """The effect of skipping the event at *offset*.

    Raises:
        ConfigurationError: it is not the next event.
    """
    each = next((each for each in found if each.partition == partition), None)
    if each is None:
        return []
    if each.next is None:
        return [_not_known(each)]
    is_halted = each.status is not None and each.status is not Status.STARTED
    if offset < each.next or (is_halted and offset != each.next):
        raise ConfigurationError(
            f"offset: {offset} is not the next event in partition {partition}; allowed: {each.next}; "
            "nothing was changed"
        )
    condition = "" if offset == each.next else f", if it is the next one by then; the next one is now {each.next}"
    facts = {"next": each.next, "skipped": offset}
    return [Effect(partition, f"skips the event at {offset}{condition}", facts)]


async def count_waiting(definition: Definition, subscription: Subscription, found: Iterable[Position]) -> list[Effect]:
    """How many events are waiting in each partition.

    Raises:
        BrokerError: the brokers can't be asked.
    """
    async with _counting(definition, subscription) as count:
        return [await _waiting(each, count) for each in found]


async def _waiting(each: Position, count: Count) -> Effect:
    if each.next is None:
        return _not_known(each)
    number = await count(each.partition, each.next, each.end)
    wait = f"{_up_to(number)} waiting, from {each.next} on" if number else "no event waiting"
    status = None if each.status is None else each.status.value
    state = "" if each.status in (None, Status.STARTED) else f"{status}, "
    return Effect(each.partition, f"{state}{wait}", {"status": status, "next": each.next, "waitingAtMost": number})


async def effects_of_replay(
    definition: Definition,
    subscription: Subscription,
    found: Iterable[Position],
    offsets: Mapping[int, int | None],
    *,
    discards: bool,
) -> list[Effect]:
    """The effect of a replay in each partition of *offsets*, whose values are offsets or None for the end of the log.

    Raises:
        ConfigurationError: it would only move forward over waiting events.
        BrokerError: the brokers can't be asked.
    """
    effects, stays, moves = [], [], False
    async with _counting(definition, subscription) as count:
        for each in found:
            if each.partition not in offsets:
                continue
            if each.next is None:
                moves = True  # possibly
                effects.append(_not_known(each))
                continue
            wanted = offsets[each.partition]
            start = each.end if wanted is None else min(wanted, each.end)
            number = await count(each.partition, min(start, each.next), max(start, each.next))
            effect = _effect_of_replay(each.partition, each.next, start, number, discards=discards)
            effects.append(effect)
            moves |= start <= each.next or discards
            if not (start <= each.next or discards) and number:
                stays.append(effect)
    if stays and not moves:
        raise ConfigurationError(as_lines(stays))
    return effects


def _effect_of_replay(partition: int, here: int, start: int, number: int, *, discards: bool) -> Effect:
    if start <= here:
        what = f"sends {_up_to(number)} again, from {start} up to {here}" if number else "sends no event again"
        return Effect(partition, what, {"next": here, "from": start, "sentAgainAtMost": number})
    if discards:
        what = f"discards {_up_to(number)}, from {here} up to {start}" if number else "discards no event"
        return Effect(partition, what, {"next": here, "from": start, "discardedAtMost": number})
    what = (
        f", because of {_up_to(number)} waiting before {start}; --discard-waiting discards them"
        if number
        else f"; no event waiting before {start}"
    )
    return Effect(partition, f"stays at {here}{what}", {"next": here, "from": here, "waitingAtMost": number})


async def offsets_since(definition: Definition, numbers: Iterable[int], timestamp_ms: int) -> dict[int, int | None]:
    """By partition, the first offset at or after a time; None if there is none.

    Raises:
        BrokerError: the brokers can't be asked.
    """
    source = definition.source
    try:
        async with EventCounter(source.connection, source.topic, source.isolation_level) as counter:
            return {number: await counter.offset_at(number, timestamp_ms) for number in numbers}
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error


def as_lines(effects: Iterable[Effect]) -> list[str]:
    """One line for all partitions with the same effect."""
    alike: dict[str, list[int]] = {}
    for each in effects:
        alike.setdefault(each.sentence, []).append(each.partition)
    return [f"{_partitions(numbers)}: {sentence}" for sentence, numbers in alike.items()]


def _partitions(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"partition {numbers[0]}"
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    shown = [str(span[0]) if len(span) == 1 else f"{span[0]}-{span[-1]}" for span in spans]
    return f"partitions {', '.join(shown)}"


def _not_known(each: Position) -> Effect:
    return Effect(each.partition, f"the position is unknown: {each.unknown}", {"problem": each.unknown})


def _up_to(number: int) -> str:
    return f"up to {number} event{'' if number == 1 else 's'}"
