"""Reads the dead-letter topic: the letters, and the facts in their headers (written by dead_letters.py)."""

import asyncio
import re
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.clock import rfc3339
from pipeline.core.errors import BrokerError
from pipeline.core.keys import decode_key
from pipeline.core.model import DEAD_LETTER_PREFIX, Event
from pipeline.core.subscription import Routing
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topics import DeadLetterTopic, partitions_of

POLL_MS: Final = 500
BATCH: Final = 200
"""Letters per read, and so per commit of a redrive."""
SILENCE_SECONDS: Final = 30.0
"""If an existing letter does not arrive in this time, the broker counts as gone. A consumer does not report a broker
that is gone."""

_LONGEST_FACT_BYTES: Final = 4_096
"""Strangers may write longer facts. They are cut, because a list has up to a thousand letters."""

_NUMBER: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class LetterFacts:
    """The facts about a dead letter, without the event's value and headers.

    Attributes:
        place: its position in the dead-letter topic, `<topic>-<partition>-<offset>`.
        subscription: the id in the record key or, with `routing: match`, in `dlq.subscription`; None without a valid
            id.
        source: the topic from which the letter came.
        at: the time of the last attempt or, if unknown, of the record, in RFC 3339 and UTC (Z); None for a time beyond
            the calendar.
    """

    place: str
    subscription: str | None
    source: str | None
    reason: str | None
    status: int | None
    error: str | None
    attempts: int | None
    webhook_id: str | None
    at: str | None


def read_facts(letter: Event, routing: Routing = Routing.KEY) -> LetterFacts:
    """The facts in the headers of any record of the dead-letter topic."""
    facts = {
        name.removeprefix(DEAD_LETTER_PREFIX): value[:_LONGEST_FACT_BYTES].decode("utf-8", "replace")
        for name, value in letter.headers
        if name.startswith(DEAD_LETTER_PREFIX) and value is not None
    }
    name = letter.key or b"" if routing is Routing.KEY else facts.get("subscription", "").encode()
    return LetterFacts(
        place=f"{letter.topic}-{letter.partition}-{letter.offset}",
        subscription=decode_key(name),
        source=facts.get("topic"),
        reason=facts.get("reason"),
        status=_whole(facts.get("status")),
        error=facts.get("error"),
        attempts=_whole(facts.get("attempts")),
        webhook_id=facts.get("webhook-id"),
        at=_time(facts.get("last-attempt-at")) or rfc3339(letter.timestamp / 1000, "milliseconds"),
    )


def _whole(text: str | None) -> int | None:
    """The number in a header; None if the header contains anything else."""
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _time(text: str | None) -> str | None:
    try:
        return rfc3339(datetime.fromisoformat(text or "").timestamp(), "milliseconds")
    except (ValueError, OverflowError):
        return None


class LetterReader:
    """Reads the dead-letter topic up to the end it had when reading began.

    Args:
        consumer: a started consumer that is assigned to every partition with a leader.
        ends: by partition, the offset at which reading ends.
        troubles: sentences about partitions that can't be read at the moment.
    """

    def __init__(
        self, topic: str, consumer: AIOKafkaConsumer, ends: Mapping[int, int], troubles: Sequence[str]
    ) -> None:
        self._topic = topic
        self._consumer = consumer
        self.ends = ends
        self.troubles = troubles

    async def batches(self, number: int, start: int) -> AsyncIterator[Sequence[Event]]:
        """The letters of partition *number* in log order, from *start* or from the first existing letter on.

        Raises:
            BrokerError: the brokers did not deliver a letter in time.
        """
        partition = TopicPartition(self._topic, number)
        self._consumer.seek(partition, start)
        position = start
        while position < self.ends[number]:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    letters, position = await self._next(partition, position)
            except TimeoutError:
                raise BrokerError(f"topic {self._topic}: partition {number} can't be read at {position}") from None
            if letters:
                yield letters

    async def _next(self, partition: TopicPartition, before: int) -> tuple[Sequence[Event], int]:
        """The next letters, and the position after them. There may be no letter if only transaction markers follow."""
        position = before
        letters: Sequence[Event] = ()
        while position == before and not letters:
            found = await self._consumer.getmany(partition, timeout_ms=POLL_MS, max_records=BATCH)
            letters = [record for record in found.get(partition, ()) if record.offset < self.ends[partition.partition]]
            position = await self._consumer.position(partition)
        return letters, position

    async def commit(self, number: int, offset: int) -> None:
        """Commit *offset* for the reader's group."""
        await self._consumer.commit({TopicPartition(self._topic, number): offset})


@asynccontextmanager
async def opened_letters(dlq: DeadLetterTopic, group: str | None = None) -> AsyncIterator[LetterReader]:
    """A reader of all partitions that have a leader.

    Args:
        dlq: the dead-letter topic and its cluster.
        group: the group for which `commit` commits; None for a reader that does not commit.

    Raises:
        BrokerError: the cluster can't be reached, or the topic does not exist or can't be read.
    """
    found = await partitions_of(dlq.connection, dlq.topic)
    partitions = [TopicPartition(dlq.topic, number) for number in found.led]
    consumer = AIOKafkaConsumer(
        group_id=group,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **dlq.connection.consumer_options(),
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions) if partitions else {}
        troubles = found.troubles(dlq.topic)
        yield LetterReader(dlq.topic, consumer, {each.partition: end for each, end in ends.items()}, troubles)
    except KafkaError as error:
        raise BrokerError(f"topic {dlq.topic}: {error}") from error
    finally:
        await disconnect(consumer)


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """A filter of letters; None matches any.

    Attributes:
        among: the subscriptions that may be shown.
        since: the earliest timestamp of the letter, Unix milliseconds.
    """

    subscription: str | None = None
    reason: str | None = None
    since: int | None = None
    among: Container[str | None] | None = None

    def matches(self, letter: Event, facts: LetterFacts) -> bool:
        """Whether a letter passes the filter."""
        return (
            self.subscription in {None, facts.subscription}
            and self.reason in {None, facts.reason}
            and (self.among is None or facts.subscription in self.among)
            and (self.since is None or letter.timestamp >= self.since)
        )


ANY: Final = LetterFilter()


async def newest(
    reader: LetterReader, limit: int, wanted: LetterFilter = ANY, routing: Routing = Routing.KEY
) -> list[LetterFacts]:
    """The newest *limit* letters that pass the filter, oldest first.

    Raises:
        BrokerError: see `LetterReader.batches`.
    """
    found: list[tuple[int, int, int, LetterFacts]] = []
    for number, end in reader.ends.items():
        # There is no index: a filter has to look at every letter.
        start = max(0, end - limit) if wanted == ANY else 0
        async for batch in reader.batches(number, start):
            facts = ((each, read_facts(each, routing)) for each in batch)
            found += [
                (letter.timestamp, number, letter.offset, fact)
                for letter, fact in facts
                if wanted.matches(letter, fact)
            ]
            found = sorted(found, key=lambda each: each[:3])[-limit:]
    return [each for *_, each in found]
