"""Reads the cursor rows of all partitions, as anyone may who owns none of them: nothing is fenced, nothing written."""

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
from pipeline.kafka.admin import unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KEEP_ALIVE_KEY, SOURCE_KEY
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer, Sieve
from pipeline.kafka.row_format import decode, read_topic_id
from pipeline.kafka.topics import count_partitions

logger = logging.getLogger(__name__)

READ_SECONDS: Final = 30.0
POLL_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Row:
    """What the owner of a partition has last noted of a subscription there.

    Attributes:
        cursor: the row; None where it can't be read.
        end: the end of the partition of the source topic.
    """

    key: bytes
    partition: int
    cursor: Cursor | None
    end: int

    @property
    def waiting_at_most(self) -> int | None:
        """So many offsets lie from the row to the end, other subscriptions' among them."""
        return None if self.cursor is None else max(0, self.end - self.cursor.next)


async def read_rows(
    connection: KafkaConnection, topic: str, source: str, keys: Iterable[bytes] | None = None
) -> list[Row]:
    """The rows of *topic* as they are committed now, those of *keys* or all, by key and partition.

    Raises:
        BrokerError: the cluster can't be reached, has no such topic, or does not answer in time.
    """
    async with _reader(connection, topic, None if keys is None else frozenset(keys)) as (consumer, found):
        values = {place: value for place, value in found.items() if place[0] not in (KEEP_ALIVE_KEY, SOURCE_KEY)}
        numbers = {partition for _, partition in values}
        ends = await consumer.end_offsets([TopicPartition(source, number) for number in numbers])
    return [
        Row(key, partition, _decoded(value), ends[TopicPartition(source, partition)])
        for (key, partition), value in sorted(values.items())
    ]


async def read_topic_ids(connection: KafkaConnection, topic: str) -> dict[int, str]:
    """Of which source topic, by its id, each partition has last been delivered; those of which none is noted left out.

    Raises:
        BrokerError: as `read_rows`.
    """
    async with _reader(connection, topic, frozenset({SOURCE_KEY})) as (_, values):
        found = {partition: read_topic_id(value) for (_, partition), value in values.items()}
    return {partition: topic_id for partition, topic_id in found.items() if topic_id is not None}


@asynccontextmanager
async def _reader(
    connection: KafkaConnection, topic: str, keys: frozenset[bytes] | None
) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[tuple[bytes, int], bytes]]]:
    """A consumer, and the newest value of each of the *keys*, or of all, that it has read in each partition."""
    count = await count_partitions(connection, topic)
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
            values = await _read(consumer, [TopicPartition(topic, number) for number in range(count)])
            # Some of others get through the sieve, too.
            yield consumer, {place: value for place, value in values.items() if keys is None or place[0] in keys}
    except TimeoutError:
        raise BrokerError(f"topic {topic}: was not read in {READ_SECONDS:.0f} s") from None
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await disconnect(consumer)


async def _read(consumer: AIOKafkaConsumer, places: list[TopicPartition]) -> dict[tuple[bytes, int], bytes]:
    """The newest value of each key in each partition; what was deleted is left out."""
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    left = await consumer.end_offsets(places)
    values: dict[tuple[bytes, int], bytes] = {}
    while left:
        for place, records in (await consumer.getmany(*left, timeout_ms=POLL_MS)).items():
            for record in records:
                if record.value is None:
                    values.pop((record.key, place.partition), None)
                else:
                    values[record.key, place.partition] = record.value
        # Markers of transactions are records that are never handed out; the position passes over them.
        left = {place: end for place, end in left.items() if await consumer.position(place) < end}
    return values


def _decoded(value: bytes) -> Cursor | None:
    try:
        return decode(value)
    except ValueError as error:
        logger.warning("a cursor row can't be read: %s", error)
        return None
