"""Reads a compacted topic once, up to its current end, and returns the newest value of each key."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from pipeline.kafka.admin import Partitions
from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.records import AIOKafkaConsumer, Sieve

READ_SECONDS: Final = 30.0
POLL_MS: Final = 200


@asynccontextmanager
async def read_newest(
    connection: KafkaConnection, topic: str, partitions: Partitions, keys: frozenset[bytes] | None
) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[tuple[bytes, int], bytes]]]:
    """A started consumer, and the newest value of each key in each partition; deleted keys are left out.

    Args:
        connection: connects to the cluster of the topic.
        topic: the topic.
        partitions: the partitions of the topic. Those without a leader are left out.
        keys: the keys to look for; None for all.

    Raises:
        BrokerError: the cluster can't be reached, or does not answer in time.
    """
    async with read_newest_records(connection, topic, partitions, keys) as (consumer, records):
        yield consumer, {at: record.value for at, record in records.items() if record.value is not None}


@asynccontextmanager
async def read_newest_records(
    connection: KafkaConnection, topic: str, partitions: Partitions, keys: frozenset[bytes] | None
) -> AsyncIterator[tuple[AIOKafkaConsumer, dict[tuple[bytes, int], "ConsumerRecord[bytes, bytes]"]]]:
    """Like `read_newest`, but returns the whole record of each key. Records without a key are left out."""
    sieve = Sieve()
    sieve.keys = keys
    async with reading(connection, topic, READ_SECONDS, key_deserializer=sieve) as consumer:
        records = await _read(consumer, [TopicPartition(topic, number) for number in partitions.led])
        # The sieve lets some records with other keys through.
        yield (
            consumer,
            {
                (key, number): record
                for (key, number), record in records.items()
                if key is not None and (keys is None or key in keys)
            },
        )


async def _read(
    consumer: AIOKafkaConsumer, tps: list[TopicPartition]
) -> dict[tuple[bytes | None, int], "ConsumerRecord[bytes, bytes]"]:
    """The newest record of each key in each partition, without deleted keys."""
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    left = await consumer.end_offsets(tps)
    newest: dict[tuple[bytes | None, int], ConsumerRecord[bytes, bytes]] = {}
    while left:
        for tp, records in (await consumer.getmany(*left, timeout_ms=POLL_MS)).items():
            for record in records:
                if record.value is None:
                    newest.pop((record.key, tp.partition), None)
                else:
                    newest[record.key, tp.partition] = record
        # Transaction markers are never handed out, but the position moves past them.
        left = {tp: end for tp, end in left.items() if await consumer.position(tp) < end}
    return newest
