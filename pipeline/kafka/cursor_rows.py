"""Reads the cursor rows of all partitions for commands. It fences nothing and writes nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.core.model import Cursor
from pipeline.kafka.admin import Partitions, unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KEEP_ALIVE_KEY, SOURCE_KEY
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.row_format import decode, read_topic_id
from pipeline.kafka.topics import partitions_of

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 30.0
POLL_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Row:
    """The newest cursor row of a subscription in a partition.

    Attributes:
        cursor: the row; None if it can't be read.
        end: the end of the source topic's partition; None while that has no leader.
    """

    key: bytes
    partition: int
    cursor: Cursor | None
    end: int | None

    @property
    def waiting_at_most(self) -> int | None:
        """The number of offsets between the row and the end; some may belong to other subscriptions."""
        return None if self.cursor is None or self.end is None else max(0, self.end - self.cursor.next)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows, sorted by key and partition, and a sentence for partitions without a leader, whose rows can't be read."""

    found: list[Row]
    troubles: list[str]


async def read_rows(connection: KafkaConnection, topic: str, source: str, keys: Iterable[bytes] | None = None) -> Rows:
    """The committed rows of *topic*, of *keys* or all.

    Raises:
        BrokerError: the cluster can't be reached, has no such topic, or does not answer in time.
    """
    own, theirs = await partitions_of(connection, topic), await partitions_of(connection, source)
    async with _reader(connection, topic, own, None if keys is None else frozenset(keys)) as (consumer, found):
        values = {at: value for at, value in found.items() if at[0] not in (KEEP_ALIVE_KEY, SOURCE_KEY)}
        numbers = {partition for _, partition in values}.intersection(theirs.led)
        ends = await consumer.end_offsets([TopicPartition(source, number) for number in numbers]) if numbers else {}
    rows = [
        Row(key, partition, _decoded(value), ends.get(TopicPartition(source, partition)))
        for (key, partition), value in sorted(values.items())
    ]
    return Rows(rows, [*own.troubles(topic), *theirs.troubles(source)])


async def read_topic_ids(connection: KafkaConnection, topic: str) -> dict[int, str]:
    """The id of the source topic that each partition was last delivered from, without partitions that have none noted.

    Raises:
        BrokerError: as for `read_rows`.
    """
    found_there = await partitions_of(connection, topic)
    async with _reader(connection, topic, found_there, frozenset({SOURCE_KEY})) as (_, values):
        found = {partition: read_topic_id(value) for (_, partition), value in values.items()}
    return {partition: topic_id for partition, topic_id in found.items() if topic_id is not None}


@asynccontextmanager
async def _reader(
    connection: KafkaConnection, topic: str, partitions: Partitions, keys: frozenset[bytes] | None
) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[tuple[bytes, int], bytes]]]:
    """A consumer, and the newest value of each key in each partition; of all keys if *keys* is None."""
    sieve = Sieve()
    sieve.keys = keys
    consumer = AIOKafkaConsumer(
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        key_deserializer=sieve,
        check_crcs=not connection.embedded,
        **connection.client_options(),
    )
    try:
        async with asyncio.timeout(READ_SECONDS):
            await consumer.start()
            values = await _read(consumer, [TopicPartition(topic, number) for number in partitions.led])
            # The sieve lets some records with other keys through.
            yield consumer, {at: value for at, value in values.items() if keys is None or at[0] in keys}
    except TimeoutError:
        raise BrokerError(f"topic {topic}: could not be read within {READ_SECONDS:.0f} s") from None
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await disconnect(consumer)


async def _read(consumer: AIOKafkaConsumer, tps: list[TopicPartition]) -> dict[tuple[bytes, int], bytes]:
    """The newest value of each key in each partition, without deleted keys."""
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    left = await consumer.end_offsets(tps)
    values: dict[tuple[bytes, int], bytes] = {}
    while left:
        for tp, records in (await consumer.getmany(*left, timeout_ms=POLL_MS)).items():
            for record in records:
                if record.value is None:
                    values.pop((record.key, tp.partition), None)
                else:
                    values[record.key, tp.partition] = record.value
        # Transaction markers are never handed out, but the position moves past them.
        left = {tp: end for tp, end in left.items() if await consumer.position(tp) < end}
    return values


def _decoded(value: bytes) -> Cursor | None:
    try:
        return decode(value)
    except ValueError as error:
        logger.warning("a cursor row can't be read: %s", error)
        return None
