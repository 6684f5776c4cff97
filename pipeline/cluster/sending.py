"""Writes events to the source topic, for commands and the API."""

from collections.abc import Sequence
from dataclasses import replace

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from pipeline.core.errors import BrokerError, ConfigurationError, UnconfirmedError
from pipeline.core.model import PlainEvent
from pipeline.core.webhook_ids import ADDRESSEE, FIRST_ID, SEAL, WebhookIds
from pipeline.kafka.internals import disconnect, start_or_disconnect
from pipeline.kafka.newest_values import read_newest
from pipeline.kafka.topics import Source, count_partitions, partitions_of, subscriptions_topic

Headers = list[tuple[str, bytes]]


def addressed(ids: WebhookIds, subscription: str, value: bytes, headers: Sequence[tuple[str, bytes]]) -> Headers:
    """The headers of an event for one subscription, with `routing: match`.

    Raises:
        ConfigurationError: *headers* contain a header of the pipeline.
    """
    own = ids.address(PlainEvent("", 0, 0, subscription.encode(), value), subscription)
    for name, _ in headers:
        if name in {FIRST_ID, ADDRESSEE, SEAL}:
            raise ConfigurationError(f"--header: {name} is a header that only the pipeline sets")
    return [*headers, *own]


async def is_subscription(app: str, source: Source, subscription: str) -> bool | str:
    """Whether a subscription exists, or a sentence about why that is unknown."""
    key, topic = subscription.encode(), subscriptions_topic(app)
    try:
        partitions = await partitions_of(source.connection, topic)
        if partitions.leaderless:
            return partitions.troubles(topic)[0]
        async with read_newest(source.connection, topic, partitions, frozenset({key})) as (_, found):
            return bool(found)
    except BrokerError as error:
        return str(error)


async def send(source: Source, event: PlainEvent) -> PlainEvent:
    """Write an event. When every in-sync replica has it, return the event with its partition and offset.

    Raises:
        BrokerError: the cluster can't be reached, does not have the topic, or refuses the event.
        ConfigurationError: the event is too large.
        UnconfirmedError: the broker did not confirm the event in time.
    """
    # The topic is checked first, because a write to a missing topic might create it.
    await count_partitions(source.connection, event.topic)
    producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **source.connection.client_options())
    try:
        await start_or_disconnect(producer)
    except KafkaError as error:
        raise BrokerError(f"topic {event.topic}: the event was not written: {error}") from error
    try:
        written = await producer.send_and_wait(event.topic, event.value, event.key, headers=event.headers)
    except KafkaError as error:
        raise _explained(error, event) from error
    finally:
        await disconnect(producer)
    return replace(event, partition=written.partition, offset=written.offset, timestamp=written.timestamp)


def _explained(error: KafkaError, event: PlainEvent) -> BrokerError | ConfigurationError:
    if isinstance(error, MessageSizeTooLargeError):
        size = len(event.value or b"")
        return ConfigurationError(f"value: {size:,} bytes, with key and headers, are too many for topic {event.topic}")
    if isinstance(error, KafkaTimeoutError) or error.retriable:
        return UnconfirmedError(
            f"topic {event.topic}: the broker did not confirm the event; it may still be written: {error}"
        )
    return BrokerError(f"topic {event.topic}: the event was not written: {error}")
