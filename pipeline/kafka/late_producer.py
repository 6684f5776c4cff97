"""A producer that its first record starts, so that a worker can start before the cluster is up."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer

from pipeline.kafka.internals import disconnect


class LateProducer:
    """A producer that is started when it is needed.

    Args:
        start: makes a producer, and starts it.
    """

    def __init__(self, start: Callable[[], Awaitable[AIOKafkaProducer]]) -> None:
        self._start = start
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def started(self) -> AIOKafkaProducer:
        """The producer, after it has started. Raises the errors of *start*."""
        async with self._starting:
            if self._producer is None:
                self._producer = await self._start()
            return self._producer

    async def replace(self, producer: AIOKafkaProducer) -> None:
        """Have the next record start a new producer. The old one may finish what it is sending.

        A record that the broker refused has used up a sequence number of its producer. So the broker would refuse this
        producer's later records in the partition as out of order.
        """
        if self._producer is producer:
            self._producer = None
            await disconnect(producer)

    async def close(self) -> None:
        """Flush and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await disconnect(producer)
