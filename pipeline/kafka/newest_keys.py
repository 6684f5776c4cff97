"""Reads the keys of a topic's newest records, to check that they are subscription ids."""

from typing import Final

from aiokafka import TopicPartition

from pipeline.kafka.bounded_reading import reading
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topics import partitions_of

READ_SECONDS: Final = 10.0
POLL_MS: Final = 500


async def newest_keys(connection: KafkaConnection, topic: str, count: int) -> list[bytes | None]:
    """The keys of about the newest *count* records: the same number from each partition, or all if it has fewer.

    Partitions without a leader are left out.

    Raises:
        BrokerError: the records can't be read in time.
    """
    led = (await partitions_of(connection, topic)).led
    tps = [TopicPartition(topic, number) for number in led]
    async with reading(connection, topic, READ_SECONDS) as consumer:
        return await _read(consumer, tps, max(1, count // len(tps))) if tps else []


async def _read(consumer: AIOKafkaConsumer, tps: list[TopicPartition], each: int) -> list[bytes | None]:
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
