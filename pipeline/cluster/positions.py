"""Reads the recorded positions of subscriptions in each partition, while lanes continue to deliver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.cluster.rows import read_noted
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.beginnings import is_of_former
from pipeline.core.errors import BrokerError
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Status
from pipeline.core.pending import pending_in
from pipeline.core.sources import TopicPartition as SourcePartition
from pipeline.core.subscription import Command, Skip, Subscription
from pipeline.kafka.admin import administration, existing_topics, partition_counts, unreachable
from pipeline.kafka.committed import Committed
from pipeline.kafka.cursor_rows import StoredRow
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topics import Source, cursors_topic


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a subscription in one partition.

    Attributes:
        next: the first unsettled offset; None if unknown.
        status: the status in its cursor row; None without a row.
        end: the end of the partition's log.
        unknown: why `next` is unknown.
    """

    topic: str
    partition: int
    next: int | None
    status: Status | None
    end: int
    unknown: str | None = None

    @property
    def tp(self) -> SourcePartition:
        """The topic partition."""
        return SourcePartition(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded about all partitions of the source topics.

    Attributes:
        leaderless: why the end or the rows of a partition are unknown.
        rows: the rows of each subscription; a sentence if they can't be read.
        committed: the group's commit in each partition; a sentence if it can't be read.
    """

    topic: str
    logs: Mapping[int, LogBounds]
    leaderless: Mapping[int, str]
    rows: Mapping[str, Sequence[StoredRow]] | str
    committed: Mapping[int, Committed] | str

    def of(self, subscription: Subscription) -> list[Position]:
        """The positions of one subscription."""
        known = [] if isinstance(self.rows, str) else self.rows.get(subscription.id, [])
        rows = {row.partition: row for row in known if row.topic == self.topic and not _is_of_former(row, subscription)}
        return [self._position(number, subscription, rows.get(number)) for number in self.logs]

    def _position(self, number: int, subscription: Subscription, row: StoredRow | None) -> Position:
        status = None if row is None or row.cursor is None else row.cursor.status
        found, end = self._next(number, subscription, row), self.logs[number].end
        if isinstance(found, str):
            return Position(self.topic, number, None, status, end, found)
        return Position(self.topic, number, found, status, end)

    def _next(self, number: int, subscription: Subscription, row: StoredRow | None) -> int | str:
        """The first unsettled offset, or a sentence about why it is unknown."""
        if isinstance(self.rows, str):
            return self.rows
        if number in self.leaderless:
            return self.leaderless[number]
        cursor = None if row is None else row.cursor
        if row is not None and cursor is None:
            return "its row can't be read"
        found = self._without_row(number, subscription) if cursor is None else cursor.next
        pending = pending_in(subscription, self.topic, number, cursor)
        return found if pending is None or isinstance(found, str) else _pending(pending)

    def _without_row(self, number: int, subscription: Subscription) -> int | str:
        """The committed offset, or the subscription's beginning if that is later."""
        if isinstance(self.committed, str):
            return self.committed
        start, committed = subscription.start_in(self.topic, number, self.logs[number].topic_id), self.committed[number]
        if start is None or committed.offset is None:
            found = committed.offset if start is None else start
            return "no worker has opened this partition yet" if found is None else found
        return max(start, committed.offset) if subscription.created < committed.begun_to else start


def _is_of_former(row: StoredRow, subscription: Subscription) -> bool:
    return row.cursor is not None and is_of_former(row.cursor, subscription)


def _pending(command: Command) -> str:
    what = "skip" if isinstance(command.resume_from, Skip) else "replay"
    return f"no worker has carried out the {what} of revision {command.revision} yet"


async def find_positions(
    settings: Settings, definition: Definition, subscriptions: Sequence[Subscription]
) -> dict[str, list[Position]]:
    """The position of each subscription in each partition of the source topics, by id.

    Raises:
        BrokerError: the partitions can't be looked up.
    """
    source = definition.source
    noted = await read_noted(settings, definition, [each.id for each in subscriptions])
    rows = noted if isinstance(noted, str) else noted.rows
    recorded = [await _recorded(settings, source, topic, rows) for topic in source.topics]
    return {each.id: [position for topic in recorded for position in topic.of(each)] for each in subscriptions}


async def _recorded(
    settings: Settings, source: Source, topic: str, rows: Mapping[str, Sequence[StoredRow]] | str
) -> Recorded:
    leaderless, logs = await _leaderless(source, topic, cursors_topic(settings.app)), await _logs(source, topic)
    return Recorded(topic, logs, leaderless, rows, await _committed(source, topic, settings.app, list(logs)))


async def _leaderless(source: Source, topic: str, rows: str) -> dict[int, str]:
    """The partitions whose end or rows are unknown because a partition has no leader, each with a sentence."""
    found = await existing_topics(source.connection)
    return {
        number: f"partition {number} of topic {name} has no leader"
        for name in (rows, topic)
        if name in found
        for number in found[name].leaderless
    }


async def _logs(source: Source, topic: str) -> dict[int, LogBounds]:
    async with administration(source.connection) as admin:
        count = (await partition_counts(admin)).get(topic, 0)
    log = SourceLog(source.connection, topic)
    try:
        return await log.look_once(range(count)) or {}
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(source.connection, error)) from error
    finally:
        await log.close()


async def _committed(source: Source, topic: str, group: str, numbers: Sequence[int]) -> dict[int, Committed] | str:
    """The committed offset of each partition, or a sentence about why the offsets can't be read."""
    tps = [TopicPartition(topic, number) for number in numbers]
    try:
        async with administration(source.connection) as admin:
            offsets = await admin.list_consumer_group_offsets(group, partitions=tps) if tps else {}
    except BrokerError as error:
        return str(error)
    if len(offsets) < len(tps):
        return f"the offsets of the group {group} can't be read"
    return {tp.partition: Committed.read(found.offset, found.metadata) for tp, found in offsets.items()}
