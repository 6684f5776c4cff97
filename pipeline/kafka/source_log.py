"""What the brokers tell of the source topic: which topic it is, and where each partition begins and ends."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from pipeline.core.log_bounds import LogBounds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of, disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topic_ids import describe_topic

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
"""So long the brokers may take for an answer: then they are asked anew."""
RETRY_PAUSE_SECONDS: Final = 0.5


class SourceLog:
    """The source topic, as it is now.

    Args:
        connection: of its cluster.
        topic: its name.
    """

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._turn = asyncio.Lock()

    async def look(self, numbers: Collection[int]) -> dict[int, LogBounds]:
        """The logs of these partitions. Tries until the brokers answer.

        Of a partition without a leader nobody can tell: `LogBounds.unseen` stands for its log, so that the others need
        not wait for it.
        """
        while True:
            try:
                found = await self.look_once(numbers)
            except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
                logger.warning("topic %s: could not look up the bounds of its partitions yet: %r", self._topic, error)
            else:
                if found is not None:
                    return found
                logger.warning("topic %s: does not exist now", self._topic)
            await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def look_once(self, numbers: Collection[int]) -> dict[int, LogBounds] | None:
        """The same; None if there is no such topic.

        Raises:
            KafkaError, OSError: the brokers can't be asked.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    return await self._ask(numbers)
            except UnknownTopicOrPartitionError:
                return None
            except BaseException:
                await self.close()  # whatever it waited for, the next one waits for nothing of it
                raise

    async def _ask(self, numbers: Collection[int]) -> dict[int, LogBounds]:
        consumer = await self._connected()
        while True:
            topic = await describe_topic(client_of(consumer), self._topic)
            led = [number for number in numbers if topic.led is None or number in topic.led]
            places = [TopicPartition(self._topic, number) for number in led]
            begins = await consumer.beginning_offsets(places) if places else {}
            # Read uncommitted, it is the end of all records: that of what may be read can lie before a place of before.
            ends = await consumer.end_offsets(places) if places else {}
            if (await describe_topic(client_of(consumer), self._topic)).id == topic.id:
                unseen = dict.fromkeys(numbers, LogBounds.unseen(topic.id))
                return unseen | {place.partition: LogBounds(begins[place], ends[place], topic.id) for place in places}

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(enable_auto_commit=False, **self._connection.client_options())
            try:
                await consumer.start()
            except BaseException:
                await disconnect(consumer)
                raise
            self._consumer = consumer
        return self._consumer

    async def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await disconnect(consumer)
