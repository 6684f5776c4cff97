"""The topics of an application: their names, partition counts and end offsets."""

from dataclasses import dataclass
from typing import Literal

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import Partitions, existing_topics, unreachable
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, start_or_disconnect
from pipeline.kafka.records import AIOKafkaConsumer

IsolationLevel = Literal["read_committed", "read_uncommitted"]


@dataclass(frozen=True, slots=True)
class Source:
    """The topics that hold the events.

    Attributes:
        topic: the only source topic, or the first of several.
        others: the other source topics.
        auto_offset_reset: where the group begins on its first start.
        isolation_level: with `read_committed`, records of a transaction are read when it has been committed, and never
            if it is aborted. With `read_uncommitted`, they are read at once.
    """

    connection: KafkaConnection
    topic: str
    auto_offset_reset: Literal["earliest", "latest"] = "latest"
    isolation_level: IsolationLevel = "read_committed"
    others: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """All source topics."""
        return self.topic, *self.others


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """The topic of undeliverable events; it may be on another cluster than the source."""

    connection: KafkaConnection
    topic: str


def subscriptions_topic(app: str) -> str:
    """The name of the topic that holds the subscriptions of an application."""
    return f"{app}.subscriptions"


def cursors_topic(app: str) -> str:
    """The name of the topic that holds the cursors of an application."""
    return f"{app}.cursors"


def workers_topic(app: str) -> str:
    """The name of the topic in which the workers of an application announce their state."""
    return f"{app}.workers"


def attempts_topic(app: str) -> str:
    """The name of the topic in which the workers of an application log attempts."""
    return f"{app}.attempts"


def audit_topic(app: str) -> str:
    """The name of the topic that records the changes in an application, with their authors."""
    return f"{app}.audit"


def events_topic(app: str) -> str:
    """The name of the topic in which the workers of an application notify its operators."""
    return f"{app}.events"


def tokens_topic(app: str) -> str:
    """The name that Faust gives to the changelog of an application's table `tokens`, which holds access tokens."""
    return f"{app}-tokens-changelog"


def written_topics(app: str) -> tuple[str, ...]:
    """The names of all topics that the pipeline itself writes: workers, the API and commands."""
    names = (subscriptions_topic, cursors_topic, workers_topic, attempts_topic, audit_topic, events_topic, tokens_topic)
    return tuple(name(app) for name in names)


async def partitions_of(connection: KafkaConnection, topic: str) -> Partitions:
    """The partitions of a topic.

    Raises:
        BrokerError: the cluster can't be reached, or has no such topic.
    """
    found = (await existing_topics(connection)).get(topic)
    if found is None:
        hint = "webhooks check names each missing topic, and creates the pipeline's own topics"
        raise BrokerError(f"{missing(connection, topic)}; {hint}")
    return found


async def count_partitions(connection: KafkaConnection, topic: str) -> int:
    """The number of partitions of a topic, with or without a leader. Raises the errors of `partitions_of`."""
    return (await partitions_of(connection, topic)).count


async def producer_for(connection: KafkaConnection, topic: str) -> AIOKafkaProducer:
    """A started producer for a topic that exists. Without the check, the broker might create the topic.

    Raises:
        BrokerError: the cluster can't be reached, or has no such topic.
        KafkaError: the producer can't be started.
    """
    await count_partitions(connection, topic)
    producer = AIOKafkaProducer(acks="all", request_timeout_ms=5000, **connection.client_options())
    await start_or_disconnect(producer)
    return producer


async def end_offset(connection: KafkaConnection, topic: str, partition: int) -> int:
    """The offset of the next event of a partition.

    Raises:
        BrokerError: the cluster can't be reached, or refuses the request.
    """
    consumer = AIOKafkaConsumer(**connection.consumer_options())
    tp = TopicPartition(topic, partition)
    try:
        await consumer.start()
        return int((await consumer.end_offsets([tp]))[tp])
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await disconnect(consumer)


def missing(connection: KafkaConnection, topic: str) -> str:
    """The message for a topic that is not in the cluster's metadata."""
    return f"topic {topic}: does not exist on {','.join(connection.bootstrap_servers)}, or this user may not see it"
