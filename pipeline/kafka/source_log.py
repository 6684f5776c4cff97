"""Asks the brokers for the source topic's id, and for the first and last offset of each partition."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from pipeline.core.log_bounds import LogBounds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of, disconnect, start_or_disconnect
from pipeline.kafka.records import AIOKafkaConsumer
from pipeline.kafka.topic_ids import describe_topic

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
"""How long the brokers have to answer before they are asked again."""
RETRY_PAUSE_SECONDS: Final = 0.5


class SourceLog:
    """Looks up the current state of a source topic."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None
        self._turn = asyncio.Lock()

    async def look(self, numbers: Collection[int]) -> dict[int, LogBounds]:
        """The bounds of these partitions' logs. Retries until the brokers answer.

        A partition without a leader gets `LogBounds.unseen`, so that the other partitions need not wait.
        """
        while True:
            try:
                found = await self.look_once(numbers)
            except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
                logger.warning("topic %s: could not look up its offsets; trying again: %r", self._topic, error)
            else:
                if found is not None:
                    return found
                logger.warning("topic %s: does not exist at the moment", self._topic)
            await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def look_once(self, numbers: Collection[int]) -> dict[int, LogBounds] | None:
        """Like `look`, but with a single try. Returns None if the topic does not exist.

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
                await self.close()  # the next lookup gets a new connection
                raise

    async def _ask(self, numbers: Collection[int]) -> dict[int, LogBounds]:
        consumer = await self._connected()
        while True:
            topic = await describe_topic(client_of(consumer), self._topic)
            led = [number for number in numbers if topic.led is None or number in topic.led]
            tps = [TopicPartition(self._topic, number) for number in led]
            begins = await consumer.beginning_offsets(tps) if tps else {}
            # The end of all records (read uncommitted), because the end of the readable records may be before a stored
            # offset.
            ends = await consumer.end_offsets(tps) if tps else {}
            if (await describe_topic(client_of(consumer), self._topic)).id == topic.id:
                unseen = dict.fromkeys(numbers, LogBounds.unseen(topic.id))
                return unseen | {tp.partition: LogBounds(begins[tp], ends[tp], topic.id) for tp in tps}

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(**self._connection.consumer_options())
            await start_or_disconnect(consumer)
            self._consumer = consumer
        return self._consumer

    async def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await disconnect(consumer)
