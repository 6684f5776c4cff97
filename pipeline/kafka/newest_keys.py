"""The keys of the newest records of a topic: enough to tell whether they are what somebody expects."""

import asyncio
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer

READ_SECONDS: Final = 10.0
POLL_MS: Final = 500


async def newest_keys(connection: KafkaConnection, topic: str, partitions: int, count: int) -> list[bytes | None]:
    """The keys of about the newest *count* records, as many of each partition; fewer where the log is shorter.

    Raises:
        BrokerError: the records can't be read in time.
    """
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **connection.client_options(),
    )
    places = [TopicPartition(topic, number) for number in range(partitions)]
    try:
        async with asyncio.timeout(READ_SECONDS):
            await consumer.start()
            return await _read(consumer, places, max(1, count // partitions))
    except TimeoutError:
        raise BrokerError(f"topic {topic}: was not read in {READ_SECONDS:.0f} s") from None
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await disconnect(consumer)


async def _read(consumer: AIOKafkaConsumer, places: list[TopicPartition], each: int) -> list[bytes | None]:
    consumer.assign(places)
    begins = await consumer.beginning_offsets(places)
    ends = await consumer.end_offsets(places)
    for place in places:
        consumer.seek(place, max(begins[place], ends[place] - each))
    keys: list[bytes | None] = []
    for place in places:
        # Markers of transactions are no records; the position passes over them.
        while await consumer.position(place) < ends[place]:
            found = await consumer.getmany(place, timeout_ms=POLL_MS)
            keys += [record.key for record in found.get(place, ()) if record.offset < ends[place]]
    return keys
