"""Finds the first offsets in partitions at or after given times."""

from collections.abc import Mapping
from typing import Final

from aiokafka import TopicPartition

from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, start_or_disconnect
from pipeline.kafka.records import AIOKafkaConsumer

FETCH_WAIT_MS: Final = 50
POLL_MS: Final = 200


async def offsets_at(
    connection: KafkaConnection, consumer: AIOKafkaConsumer, times_ms: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | None]:
    """For each partition, the first offset at or after its time in Unix milliseconds; None if there is none.

    The embedded broker finds no offset for any time, so its log is read instead.

    Args:
        connection: connects to the cluster.
        consumer: a started consumer of this cluster. Its assignment and its positions are not changed.
        times_ms: the times, by partition.

    Raises:
        KafkaError: the brokers can't be asked.
    """
    if connection.embedded:
        return await _read_offsets(connection, times_ms)
    found = await consumer.offsets_for_times(dict(times_ms))
    return {tp: None if found.get(tp) is None else int(found[tp].offset) for tp in times_ms}


async def _read_offsets(
    connection: KafkaConnection, times_ms: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int | None]:
    consumer = AIOKafkaConsumer(
        auto_offset_reset="earliest", fetch_max_wait_ms=FETCH_WAIT_MS, **connection.consumer_options()
    )
    await start_or_disconnect(consumer)
    try:
        return {tp: await _read_offset(consumer, tp, time_ms) for tp, time_ms in times_ms.items()}
    finally:
        await disconnect(consumer)


async def _read_offset(consumer: AIOKafkaConsumer, tp: TopicPartition, time_ms: int) -> int | None:
    consumer.assign([tp])
    consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
    end = (await consumer.end_offsets([tp]))[tp]
    while await consumer.position(tp) < end:
        for record in (await consumer.getmany(tp, timeout_ms=POLL_MS)).get(tp, ()):
            if record.timestamp >= time_ms:
                return int(record.offset)
    return None
