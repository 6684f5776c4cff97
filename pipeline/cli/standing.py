"""The position of a subscription in each partition, and the effect of a command there, shown before it is written.

The positions are those that the workers recorded. A lane that delivers moves on meanwhile, so the numbers are upper
bounds.
"""

from dataclasses import dataclass

from aiokafka import TopicPartition

from pipeline.cli.noted import read_noted
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.model import Status
from pipeline.kafka.admin import administration, partition_counts
from pipeline.kafka.event_count import EventCounter
from pipeline.kafka.source_log import SourceLog


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription in one partition.

    Attributes:
        next: the first unsettled offset; None if neither a row nor the group has it.
        status: the status in its row, None without a row.
        end: the end of the log.
    """

    partition: int
    next: int | None
    status: Status | None
    end: int


async def standings(settings: Settings, definition: Definition, subscription: str) -> list[Standing]:
    """The position in each partition of the source topic.

    Raises:
        BrokerError: the cluster can't be asked.
    """
    source = definition.source
    noted = await read_noted(settings, definition, subscription)
    if isinstance(noted, str):
        raise BrokerError(noted)
    rows = {row.partition: row.cursor for row in noted.get(subscription, []) if row.cursor is not None}
    log = SourceLog(source.connection, source.topic)
    try:
        async with administration(source.connection) as admin:
            numbers = range((await partition_counts(admin)).get(source.topic, 0))
            places = [TopicPartition(source.topic, number) for number in numbers]
            offsets = await admin.list_consumer_group_offsets(settings.app, partitions=places)
            logs = await log.look_once(numbers) or {}
    finally:
        await log.close()
    found = []
    for place in places:
        row, committed = rows.get(place.partition), offsets[place].offset
        begins = committed if committed >= 0 else None
        status = None if row is None else row.status
        end = logs[place.partition].end
        found.append(Standing(place.partition, begins if row is None else row.next, status, end))
    return found


def refuse_other_than_next(found: list[Standing], partition: int, offset: int) -> None:
    """Check that a skip names the next event.

    Raises:
        ConfigurationError: another event is the next one.
    """
    each = next((each for each in found if each.partition == partition), None)
    if each is None or each.next is None:
        return
    stands_still = each.status is not None and each.status is not Status.STARTED
    if offset < each.next or (stands_still and offset != each.next):
        raise ConfigurationError(
            f"offset: {offset} is not the next event in partition {partition}; allowed: {each.next}; "
            "nothing was changed"
        )


async def replayed(
    definition: Definition, subscription: str, found: list[Standing], places: dict[int, int | None], *, discards: bool
) -> list[str]:
    """The effect of a replay in each partition, as sentences; None in *places* is the end of the log.

    Raises:
        ConfigurationError: it would only move forward, over waiting events.
    """
    source, key = definition.source, subscription.encode()
    said, refused = [], 0
    async with EventCounter(source.connection, source.topic, source.isolation_level) as counter:
        for each in found:
            if each.partition not in places or each.next is None:
                continue
            wanted = places[each.partition]
            place = each.end if wanted is None else min(wanted, each.end)
            count = await counter.count(each.partition, key, min(place, each.next), max(place, each.next))
            if place <= each.next:
                said.append(f"partition {each.partition}: {count} events from {place} up to {each.next} are sent again")
            elif discards:
                said.append(f"partition {each.partition}: up to {count} events from {each.next} on are discarded")
            elif count:
                said.append(
                    f"partition {each.partition}: stays at {each.next}, because up to {count} events wait before "
                    f"{place}; --discard-waiting discards them"
                )
                refused += 1
    if refused and refused == len(said):
        raise ConfigurationError(said)
    return said
