"""Dead letters as they lie in their topic: what their headers say, and reading them (interface: dead_letters.py)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.core.keys import decode_key
from pipeline.core.model import Event
from pipeline.core.record_headers import DEAD_LETTER_PREFIX
from pipeline.kafka.dead_letters import letter_time
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topics import DeadLetterTopic, count_partitions

POLL_MS: Final = 500
BATCH: Final = 200
"""Letters per reading, and so per commit of a redrive."""
SILENCE_SECONDS: Final = 30.0
"""A consumer hides that its broker is gone; after so long without a letter that is there, it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a dead letter; neither its value nor a header of the event's own.

    Attributes:
        place: `<topic>-<partition>-<offset>` in the dead-letter topic.
        subscription: its key; None where that is no subscription id.
        source: the topic it came from.
        at: RFC 3339, of the last attempt, or when it was written; None for a time that no calendar has.
    """

    place: str
    subscription: str | None
    source: str | None
    reason: str | None
    status: str | None
    error: str | None
    attempts: str | None
    webhook_id: str | None
    at: str | None


def read_facts(letter: Event) -> Found:
    """The facts of a record of the dead-letter topic, whoever wrote it."""
    facts = {
        name.removeprefix(DEAD_LETTER_PREFIX): value.decode("utf-8", "replace")
        for name, value in letter.headers
        if name.startswith(DEAD_LETTER_PREFIX) and value is not None
    }
    return Found(
        place=f"{letter.topic}-{letter.partition}-{letter.offset}",
        subscription=decode_key(letter.key or b""),
        source=facts.get("topic"),
        reason=facts.get("reason"),
        status=facts.get("status"),
        error=facts.get("error"),
        attempts=facts.get("attempts"),
        webhook_id=facts.get("webhook-id"),
        at=facts.get("last-attempt-at") or letter_time(letter.timestamp / 1000),
    )


class LetterReader:
    """Reads the dead-letter topic up to the end it had when reading began.

    Args:
        topic: where dead letters go.
        consumer: assigned to every partition, and started.
        ends: where reading ends, by partition.
    """

    def __init__(self, topic: str, consumer: AIOKafkaConsumer, ends: Mapping[int, int]) -> None:
        self._topic = topic
        self._consumer = consumer
        self.ends = ends

    async def batches(self, number: int, start: int) -> AsyncIterator[Sequence[Event]]:
        """The letters of partition *number* from *start* on (or from the first there still is), in their order.

        Raises:
            BrokerError: a letter that is there did not come.
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
        """What comes next, and the offset behind it, which transaction markers may move as well."""
        position = before
        letters: Sequence[Event] = ()
        while position == before and not letters:
            found = await self._consumer.getmany(partition, timeout_ms=POLL_MS, max_records=BATCH)
            letters = [record for record in found.get(partition, ()) if record.offset < self.ends[partition.partition]]
            position = await self._consumer.position(partition)
        return letters, position

    async def commit(self, number: int, offset: int) -> None:
        """Remember *offset* as the committed offset of the reader's group."""
        await self._consumer.commit({TopicPartition(self._topic, number): offset})


@asynccontextmanager
async def opened_letters(dlq: DeadLetterTopic, group: str | None = None) -> AsyncIterator[LetterReader]:
    """A reader of all partitions.

    Args:
        dlq: the topic and its cluster.
        group: whose offset `commit` remembers; None: nobody's.

    Raises:
        BrokerError: the cluster can't be reached, or the topic does not exist or can't be read.
    """
    partitions = [
        TopicPartition(dlq.topic, number) for number in range(await count_partitions(dlq.connection, dlq.topic))
    ]
    consumer = AIOKafkaConsumer(
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        check_crcs=not dlq.connection.embedded,
        **dlq.connection.client_options(),
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        yield LetterReader(dlq.topic, consumer, {each.partition: end for each, end in ends.items()})
    except KafkaError as error:
        raise BrokerError(f"topic {dlq.topic}: {error}") from error
    finally:
        await disconnect(consumer)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are asked for; None asks for any.

    Attributes:
        since: when it was written at the earliest, milliseconds since the Unix epoch.
    """

    subscription: str | None = None
    reason: str | None = None
    since: int | None = None

    def matches(self, letter: Event, facts: Found) -> bool:
        """Whether a letter is one of them."""
        return (
            self.subscription in {None, facts.subscription}
            and self.reason in {None, facts.reason}
            and (self.since is None or letter.timestamp >= self.since)
        )


ANY: Final = Wanted()


async def newest(dlq: DeadLetterTopic, limit: int, wanted: Wanted = ANY) -> list[Found]:
    """The newest *limit* letters of those that are wanted, the oldest of them first.

    Raises:
        BrokerError: as for `opened_letters`.
    """
    found: list[tuple[int, int, int, Found]] = []
    async with opened_letters(dlq) as reader:
        for number, end in reader.ends.items():
            # What a letter says only the letter says: if some are wanted, all have to be looked at.
            start = max(0, end - limit) if wanted == ANY else 0
            async for batch in reader.batches(number, start):
                facts = ((each, read_facts(each)) for each in batch)
                found += [
                    (letter.timestamp, number, letter.offset, fact)
                    for letter, fact in facts
                    if wanted.matches(letter, fact)
                ]
                found = sorted(found, key=lambda each: each[:3])[-limit:]
    return [each for *_, each in found]
