"""A consumer without a group that reads a topic for a bounded time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topics import IsolationLevel

FETCH_WAIT_MS: Final = 50
"""How long a broker may hold an empty fetch. An empty fetch only occurs as a prefetch at the end of the log, and the
fetch of another partition must not wait for it."""


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
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation_level,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        **options,
        **connection.client_options(),
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
