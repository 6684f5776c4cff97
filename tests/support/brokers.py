"""The brokers that tests run on, the embedded broker and a real Kafka, with one interface."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import NoError, NotLeaderForPartitionError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import OffsetAndMetadata

from pipeline.config.kafka_security import Security, connection
from pipeline.config.schema import read
from pipeline.kafka.connection import KafkaConnection
from tests.support.failing_broker import FailingBroker
from tests.support.waiting import eventually

Records = list[ConsumerRecord[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class TestBroker:
    """A broker to test against.

    Attributes:
        bootstrap: the address of the broker, `host:port`; addresses of several brokers are separated by commas.
        mock: the embedded broker, which can be made to fail; None for a real Kafka.
        security: the `security` block of the broker's endpoint in an API definition; None for a plain listener.
    """

    __test__: ClassVar[bool] = False  # not a test class

    bootstrap: str
    mock: FailingBroker | None = None
    security: Mapping[str, Any] | None = None

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded broker, which has no rebalances, no fencing and no real transactions."""
        return self.mock is not None

    @property
    def replicas(self) -> int:
        """The number of replicas of created topics: one on each broker."""
        return len(self.bootstrap.split(","))

    @property
    def connection(self) -> KafkaConnection:
        """The connection of the pipeline to the broker."""
        security = None if self.security is None else read(Security, self.security, "security")
        return replace(connection(tuple(self.bootstrap.split(",")), security, "security"), embedded=self.embedded)

    async def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and return its name. *config* is for a real Kafka only."""
        if self.mock is not None:
            self.mock.create_topic(name, partitions)
            return name
        admin = AIOKafkaAdminClient(**self.connection.client_options())
        try:
            await admin.start()
            answer = await admin.create_topics(
                [NewTopic(name, partitions, self.replicas, topic_configs=dict(config or {}))]
            )
            for topic, code, *reason in answer.topic_errors:
                if code:
                    raise for_code(code)(f"{topic}: {reason}")
            # The controller has created the topic. The other brokers know the topic a moment later.
            await eventually(lambda: _is_led(admin, name, partitions), within_seconds=20, says=lambda: f"no {name}")
        finally:
            await admin.close()
        return name

    async def until_led(self, name: str, partitions: int) -> None:
        """Return when the brokers have a topic that another client has created (a real Kafka only)."""
        admin = AIOKafkaAdminClient(**self.connection.client_options())
        try:
            await admin.start()
            await eventually(lambda: _is_led(admin, name, partitions), within_seconds=20, says=lambda: f"no {name}")
        finally:
            await admin.close()

    async def add_partitions(self, name: str, count: int) -> None:
        """Increase the number of partitions of a topic to *count* (a real Kafka only)."""
        admin = AIOKafkaAdminClient(**self.connection.client_options())
        try:
            await admin.start()
            await admin.create_partitions({name: NewPartitions(count)})
            await eventually(lambda: _is_led(admin, name, count), within_seconds=20, says=lambda: f"{name} not grown")
        finally:
            await admin.close()

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """A started producer that waits for all replicas."""
        producer = AIOKafkaProducer(acks="all", **self.connection.client_options())
        try:
            await producer.start()
            yield producer
        finally:
            await producer.stop()

    async def produce(
        self, topic: str, *records: tuple[bytes | None, bytes | None], partition: int | None = None
    ) -> None:
        """Append (key, value) pairs in order, and return when the broker has confirmed all of them."""
        async with self.producer() as producer:
            sent = [await producer.send(topic, value, key=key, partition=partition) for key, value in records]
            await asyncio.gather(*sent)

    async def append(self, topic: str, batch: bytes, partition: int = 0) -> None:
        """Append a batch of records unchanged (batches.py), and return when the broker has confirmed it.

        Raises:
            aiokafka.errors.KafkaError: the broker refuses the batch.
        """
        request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, batch)])])
        async with self.producer() as producer:
            await producer.partitions_for(topic)
            leader = producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))

            async def is_taken() -> bool:
                answer = await producer.client.send(leader, request)
                error = for_code(answer.topics[0][1][0][1])
                if error not in {NoError, NotLeaderForPartitionError}:
                    raise error(f"{topic}-{partition}")
                return error is NoError

            # After the controller has chosen a leader, it takes a moment until the broker leads.
            await eventually(is_taken, within_seconds=20, says=lambda: f"{topic}-{partition} has no leader")

    async def read(self, topic: str, *, committed_only: bool = False) -> Records:
        """The current records of a topic, by partition and offset.

        Args:
            topic: an existing topic.
            committed_only: leave out records of open and aborted transactions (a real Kafka only).
        """
        records: Records = []
        async with self._reader(topic, committed_only=committed_only) as reader:
            ends = await reader.end_offsets(reader.assignment())
            for tp, end in ends.items():
                while await reader.position(tp) < end:
                    for batch in (await reader.getmany(tp, timeout_ms=200)).values():
                        records += [record for record in batch if record.offset < end]
        return sorted(records, key=lambda record: (record.partition, record.offset))

    async def wait_for(self, topic: str, count: int, *, within_seconds: float = 20.0) -> Records:
        """Wait until the topic has *count* records. Returns its first *count* records, by partition and offset.

        Raises:
            TimeoutError: there were fewer records after *within_seconds*; the message contains their number.
        """
        records: Records = []
        try:
            async with asyncio.timeout(within_seconds), self._reader(topic) as reader:
                while len(records) < count:
                    for batch in (await reader.getmany(timeout_ms=200)).values():
                        records += batch
        except TimeoutError as error:
            raise TimeoutError(f"{topic} had {len(records)} of {count} records after {within_seconds} s") from error
        return sorted(records[:count], key=lambda record: (record.partition, record.offset))

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit offsets like the workers of a group."""
        consumer = AIOKafkaConsumer(group_id=group, **self.connection.consumer_options())
        places = {TopicPartition(topic, number): offset for number, offset in offsets.items()}
        try:
            await consumer.start()
            consumer.assign(list(places))
            await consumer.commit(places)
        finally:
            await consumer.stop()

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """The committed offsets of a consumer group, by partition. Partitions without an offset are left out."""
        return {number: found.offset for number, found in (await self.commits(group, topic)).items()}

    async def commits(self, group: str, topic: str) -> dict[int, OffsetAndMetadata]:
        """The committed offsets of a consumer group, by partition, with their metadata."""
        admin = AIOKafkaAdminClient(**self.connection.client_options())
        try:
            await admin.start()
            described = (await admin.describe_topics([topic]))[0]
            places = [TopicPartition(topic, found["partition"]) for found in described["partitions"]]
            offsets = await admin.list_consumer_group_offsets(group, partitions=places)
        finally:
            await admin.close()
        return {tp.partition: found for tp, found in offsets.items() if found.offset >= 0}

    @asynccontextmanager
    async def _reader(self, topic: str, *, committed_only: bool = False) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            topic,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed_only else "read_uncommitted",
            **self.connection.consumer_options(),
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def _is_led(admin: AIOKafkaAdminClient, topic: str, partitions: int) -> bool:
    (described,) = await admin.describe_topics([topic])
    return len([found for found in described["partitions"] if found["leader"] >= 0]) == partitions
