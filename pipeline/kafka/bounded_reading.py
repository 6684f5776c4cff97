"""A consumer without a group that reads a topic for a bounded time: one record, the keys of the newest records."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.core.model import Event
from pipeline.kafka.admin import unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topics import IsolationLevel, partitions_of

FETCH_WAIT_MS: Final = 50
"""How long a broker may hold an empty fetch. An empty fetch only occurs as a prefetch at the end of the log, and the
fetch of another partition must not wait for it."""
POLL_MS: Final = 200
KEYS_SECONDS: Final = 10.0


@asynccontextmanager
async def reading(
    connection: KafkaConnection,
    topic: str,
    seconds: float,
    *,
    isolation_level: IsolationLevel = "read_committed",
    **options: Any,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A context with a started consumer. Its block may take *seconds*.

    Args:
        connection: connects to the cluster of the topic.
        topic: the topic, which the error names. The consumer has no partitions yet.
        seconds: the time limit, from the start of the consumer to the end of the block.
        isolation_level: the isolation level of the consumer.
        options: further options of the consumer.

    Raises:
        BrokerError: the cluster can't be reached, or does not answer in time.
    """
    consumer = AIOKafkaConsumer(
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        **options,
        **connection.consumer_options(),
    )
    try:
        async with asyncio.timeout(seconds):
            await consumer.start()
            yield consumer
    except TimeoutError:
        raise BrokerError(f"topic {topic}: could not be read within {seconds:.0f} s") from None
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await disconnect(consumer)


async def read_event(
    connection: KafkaConnection,
    place: tuple[str, int, int],
    seconds: float,
    isolation_level: IsolationLevel = "read_committed",
) -> Event | None:
    """The record at topic, partition and offset; None if it was deleted or has not been written.

    Args:
        connection: connects to the cluster of the topic.
        place: topic, partition and offset; the partition exists.
        seconds: the time limit.
        isolation_level: the isolation level of the consumer.

    Raises:
        BrokerError: the partition can't be read within *seconds*.
    """
    topic, partition, offset = place
    async with reading(connection, topic, seconds, isolation_level=isolation_level) as consumer:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        begin, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        if not begin <= offset < end:
            return None
        consumer.seek(tp, offset)
        while await consumer.position(tp) <= offset:
            for record in (await consumer.getmany(tp, timeout_ms=POLL_MS, max_records=1)).get(tp, ()):
                if record.offset >= offset:
                    found: Event = record
                    return found if found.offset == offset else None
    return None


async def newest_keys(connection: KafkaConnection, topic: str, count: int) -> list[bytes | None]:
    """The keys of about the newest *count* records: the same number from each partition, or all if it has fewer.

    Partitions without a leader are left out.

    Raises:
        BrokerError: the records can't be read in time.
    """
    led = (await partitions_of(connection, topic)).led
    tps = [TopicPartition(topic, number) for number in led]
    async with reading(connection, topic, KEYS_SECONDS) as consumer:
        return await _keys_at_end(consumer, tps, max(1, count // len(tps))) if tps else []


async def _keys_at_end(consumer: AIOKafkaConsumer, tps: list[TopicPartition], each: int) -> list[bytes | None]:
    consumer.assign(tps)
    begins = await consumer.beginning_offsets(tps)
    ends = await consumer.end_offsets(tps)
    for tp in tps:
        consumer.seek(tp, max(begins[tp], ends[tp] - each))
    keys: list[bytes | None] = []
    for tp in tps:
        # Transaction markers are never handed out, but the position moves past them.
        while await consumer.position(tp) < ends[tp]:
            found = await consumer.getmany(tp, timeout_ms=POLL_MS)
            keys += [record.key for record in found.get(tp, ()) if record.offset < ends[tp]]
    return keys
