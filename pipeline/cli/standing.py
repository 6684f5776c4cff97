"""The position of a subscription in each partition, and the effect of a command there, shown before it is written.

The positions are those that the workers recorded. A lane that delivers moves on meanwhile, so the numbers are upper
bounds. A command also works for a user who may not read all of it; it then says what is not known.
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
from pipeline.kafka.admin import administration, find_partitions, partition_counts, unreachable
from pipeline.kafka.event_count import EventCounter
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topics import Source, cursors_topic

COUNT_SECONDS: Final = 5.0
"""How long events are counted. What is left then is told as offsets, with others' events: still an upper bound."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription in one partition.

    Attributes:
        next: the first offset that is not settled; None where that is not known.
        status: what its row says, None without one.
        end: of the log.
        unknown: why `next` is not known.
    """

    partition: int
    next: int | None
    status: Status | None
    end: int
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a command finds or does in one partition: for people, and for programs."""

    partition: int
    sentence: str
    facts: Mapping[str, object] = field(default_factory=dict)


class Count(Protocol):
    """Counts the subscription's events in a stretch of the log, or says how many there are at most."""

    async def __call__(self, partition: int, start: int, end: int) -> int:
        """From *start* up to *end*."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """What a command finds or does in the partitions of a subscription; it may raise to refuse the command.

    Attributes:
        is_said_before: on stderr to programs, too, before anything is written.
    """

    subscription: str
    of: Callable[[list[Standing]], Awaitable[list[Told]]]
    is_said_before: bool = False

    async def tell(self, output: Format) -> list[Told] | str:
        """What it is, said to people; a sentence where it can't be known, for the command works all the same.

        Raises:
            ConfigurationError: the command is refused.
        """
        try:
            told = await self.of(await standings(*configured(), self.subscription))
        except BrokerError as error:
            say(f"what it does in which partitions is not known: {error}", err=True)
            return str(error)
        if output == "table" or self.is_said_before:
            for line in as_lines(told):
                say(line, err=True)
        return told


def account_of_waiting(subscription: str) -> Account:
    """Says how many events wait."""
    return Account(subscription, lambda found: waiting(configured()[1], subscription, found))


def shown_account(told: list[Told] | str | None) -> dict[str, object]:
    """What `Account.tell` returned, as JSON."""
    match told:
        case None:
            return {}
        case str():
            return {"partitions": None, "problem": told}
        case _:
            return {"partitions": [{"partition": each.partition, **each.facts} for each in told]}


async def standings(settings: Settings, definition: Definition, subscription: str) -> list[Standing]:
    """Where it stands in each partition of the source topic.

    Raises:
        BrokerError: the partitions of the source topic can't be asked for.
    """
    source = definition.source
    noted = await read_noted(settings, definition, subscription)
    unseen, logs = await _unseen(source, cursors_topic(settings.app)), await _logs(source)
    if isinstance(noted, str):
        return [Standing(number, None, None, log.end, noted) for number, log in logs.items()]
    rows = {row.partition: row.cursor for row in noted.get(subscription, [])}
    without = [number for number in logs if number not in rows]
    committed = await _committed(source, settings.app, without)
    found = []
    for number, log in logs.items():
        if number in unseen:
            found.append(Standing(number, None, None, log.end, unseen[number]))
        elif number in rows:
            row = rows[number]
            found.append(
                Standing(number, None, None, log.end, "its row can't be read")
                if row is None
                else Standing(number, row.next, row.status, log.end)
            )
        elif isinstance(committed, str):
            found.append(Standing(number, None, None, log.end, committed))
        elif number in committed:
            found.append(Standing(number, committed[number], None, log.end))
        else:
            found.append(Standing(number, None, None, log.end, "no worker has begun there"))
    return found


async def _unseen(source: Source, rows: str) -> dict[int, str]:
    """The partitions of which nobody can tell the end or the rows, and why."""
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
    places = [TopicPartition(source.topic, number) for number in numbers]
    try:
        async with administration(source.connection) as admin:
            offsets = await admin.list_consumer_group_offsets(group, partitions=places)
    except BrokerError as error:
        return str(error)
    if len(offsets) < len(places):
        return f"the offsets of the group {group} can't be read"
    return {place.partition: found.offset for place, found in offsets.items() if found.offset >= 0}


@asynccontextmanager
async def _counting(source: Source, subscription: str) -> AsyncIterator[Count]:
    key, deadline = subscription.encode(), asyncio.get_running_loop().time() + COUNT_SECONDS
    try:
        async with EventCounter(source.connection, source.topic, source.isolation_level) as counter:

            async def count(partition: int, start: int, end: int) -> int:
                try:
                    async with asyncio.timeout_at(deadline):
                        return await counter.count(partition, key, start, end) if start < end else 0
                except (KafkaError, OSError):  # a TimeoutError is an OSError
                    return end - start

            yield count
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error


def refuse_other_than_next(found: Iterable[Standing], partition: int, offset: int) -> list[Told]:
    """A skip is of the next event.

    Raises:
        ConfigurationError: another one is the next.
    """
    each = next((each for each in found if each.partition == partition), None)
    if each is None:
        return []
    if each.next is None:
        return [_not_known(each)]
    stands_still = each.status is not None and each.status is not Status.STARTED
    if offset < each.next or (stands_still and offset != each.next):
        raise ConfigurationError(
            f"offset: {offset} is not the next event in partition {partition}; allowed: {each.next}; "
            "nothing was changed"
        )
    condition = "" if offset == each.next else f", if it is the next one by then; that is {each.next} now"
    facts = {"next": each.next, "skipped": offset}
    return [Told(partition, f"passes over the event at {offset}{condition}", facts)]


async def waiting(definition: Definition, subscription: str, found: Iterable[Standing]) -> list[Told]:
    """How many events wait in each partition.

    Raises:
        BrokerError: the brokers can't be asked.
    """
    async with _counting(definition.source, subscription) as count:
        return [await _waiting(each, count) for each in found]


async def _waiting(each: Standing, count: Count) -> Told:
    if each.next is None:
        return _not_known(each)
    number = await count(each.partition, each.next, each.end)
    wait = f"{_up_to(number)} {'waits' if number == 1 else 'wait'}, from {each.next} on" if number else "no event waits"
    status = None if each.status is None else each.status.value
    state = "" if each.status in (None, Status.STARTED) else f"{status}, "
    return Told(each.partition, f"{state}{wait}", {"status": status, "next": each.next, "waitingAtMost": number})


async def replayed(
    definition: Definition,
    subscription: str,
    found: Iterable[Standing],
    places: Mapping[int, int | None],
    *,
    discards: bool,
) -> list[Told]:
    """What a replay does in each of these partitions; None in *places* is the end of the log.

    Raises:
        ConfigurationError: it would only go forward, over events that wait.
        BrokerError: the brokers can't be asked.
    """
    told, stays, moves = [], [], False
    async with _counting(definition.source, subscription) as count:
        for each in found:
            if each.partition not in places:
                continue
            if each.next is None:
                moves = True  # for all that is known
                told.append(_not_known(each))
                continue
            wanted = places[each.partition]
            place = each.end if wanted is None else min(wanted, each.end)
            number = await count(each.partition, min(place, each.next), max(place, each.next))
            said = _replayed(each.partition, each.next, place, number, discards=discards)
            told.append(said)
            moves |= place <= each.next or discards
            if not (place <= each.next or discards) and number:
                stays.append(said)
    if stays and not moves:
        raise ConfigurationError(as_lines(stays))
    return told


def _replayed(partition: int, here: int, place: int, number: int, *, discards: bool) -> Told:
    if place <= here:
        what = f"sends {_up_to(number)} again, from {place} up to {here}" if number else "sends no event again"
        return Told(partition, what, {"next": here, "from": place, "sentAgainAtMost": number})
    if discards:
        what = f"discards {_up_to(number)}, from {here} up to {place}" if number else "discards no event"
        return Told(partition, what, {"next": here, "from": place, "discardedAtMost": number})
    wait = f"{_up_to(number)} {'waits' if number == 1 else 'wait'}"
    what = (
        f", because {wait} before {place}; --discard-waiting discards them"
        if number
        else "; no event waits before that"
    )
    return Told(partition, f"stays at {here}{what}", {"next": here, "from": here, "waitingAtMost": number})


async def places_since(definition: Definition, numbers: Iterable[int], timestamp_ms: int) -> dict[int, int | None]:
    """Where the events of a time begin in these partitions; None where there are none.

    Raises:
        BrokerError: the brokers can't be asked.
    """
    source = definition.source
    try:
        async with EventCounter(source.connection, source.topic, source.isolation_level) as counter:
            return {number: await counter.offset_at(number, timestamp_ms) for number in numbers}
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error


def as_lines(told: Iterable[Told]) -> list[str]:
    """A line for each partition, or one for all that are alike."""
    alike: dict[str, list[int]] = {}
    for each in told:
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


def _not_known(each: Standing) -> Told:
    return Told(each.partition, f"where it stands is not known: {each.unknown}", {"problem": each.unknown})


def _up_to(number: int) -> str:
    return f"up to {number} event{'' if number == 1 else 's'}"
