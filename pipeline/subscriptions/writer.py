"""Writes the records of the compacted topic of subscriptions."""

import logging
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from pipeline.core.errors import BrokerError, UnconfirmedError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import disconnect, start_or_disconnect

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_MS: Final = 10_000
BATCH_BYTES: Final = 256 * 1024
"""The size of a request to the broker. A subscription takes a kilobyte, or several with its keys."""
LARGEST_RECORD: Final = 1_048_576
"""Bytes of a record, with its key and Kafka's overhead; almost the default limit of topics."""


class SubscriptionWriter:
    """A producer for one topic.

    Args:
        connection: of the cluster that holds the topic.
        topic: `<app>.subscriptions`.
    """

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers.
        """
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=LARGEST_RECORD,
            **self._connection.client_options(),
        )
        try:
            await start_or_disconnect(producer)
        except KafkaError as error:
            raise BrokerError(f"topic {self._topic}: {error}") from error
        self._producer = producer

    async def close(self) -> None:
        """Disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await disconnect(producer)

    async def send(self, subscription_id: str, value: bytes | None) -> int:
        """Write a subscription, or delete it if *value* is None; returns the revision.

        Raises:
            BrokerError: it was not written.
            UnconfirmedError: the broker did not confirm the write in time.
        """
        if self._producer is None:
            raise BrokerError(f"topic {self._topic}: the store is not open")
        try:
            written = await self._producer.send_and_wait(self._topic, value, key=subscription_id.encode(), partition=0)
        except KafkaError as error:
            is_open = error.retriable or isinstance(error, KafkaTimeoutError)
            kind = UnconfirmedError if is_open else BrokerError
            why = _size(value) if isinstance(error, MessageSizeTooLargeError) else str(error)
            raise kind(f"topic {self._topic}: subscription {subscription_id} was not written: {why}") from error
        revision: int = written.offset
        logger.info("subscription %s: revision %d %s", subscription_id, revision, "written" if value else "deletes it")
        return revision


def _size(value: bytes | None) -> str:
    allowed = f"at most {LARGEST_RECORD:,}, and max.message.bytes of the topic"
    return f"it has {len(value or b''):,} bytes; allowed: {allowed}"
