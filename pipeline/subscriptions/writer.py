"""Writes the records of the compacted topic of subscriptions."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from pipeline.core.errors import BrokerError, ConfigurationError, UnconfirmedError
from pipeline.core.subscription import Command
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import start_or_disconnect
from pipeline.kafka.late_producer import LateProducer
from pipeline.subscriptions.commands import written

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_MS: Final = 10_000
BATCH_BYTES: Final = 256 * 1024
"""The size of a request to the broker. A subscription has about a kilobyte; with keys, several."""
LARGEST_RECORD: Final = 1_048_576
"""The largest record, with its key and Kafka's overhead; slightly less than the default limit of topics."""


FIELDS_HEADER: Final = "fields"
AFTER_HEADER: Final = "after"
"""The revision that has to precede the record. After any other revision, the record does not count."""
SINCE_HEADER: Final = "since"
"""The record has no change of its own. It merges the changes of the records after this revision."""
READ_HEADER: Final = "read"
"""The last revision that is merged."""
UNDOES_HEADER: Final = "undoes"
"""A revision that does not count, because the subscription was closed or deleted just before it."""
ABSENT: Final = -1
"""The value of these headers, instead of a revision, if the subscription does not exist."""

NO_REVISIONS: Final[Mapping[str, int | None]] = {}

OnWritten = Callable[[str, int], None]


def unheard(_id: str, _revision: int) -> None:
    """Ignore a written revision; the default of `on_written`."""


class SubscriptionWriter:
    """A producer for one topic.

    Args:
        topic: `<app>.subscriptions`.
        on_written: called with the id and the new revision after each write.
    """

    def __init__(self, connection: KafkaConnection, topic: str, on_written: OnWritten = unheard) -> None:
        self._on_written = on_written
        self._connection = connection
        self._topic = topic
        self._producer = LateProducer(self._start)
        self._is_open = False

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerError: no broker answers.
        """
        await self._producer.started()
        self._is_open = True

    async def _start(self) -> AIOKafkaProducer:
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
        return producer

    async def close(self) -> None:
        """Disconnect."""
        self._is_open = False
        await self._producer.close()

    async def send(
        self,
        subscription_id: str,
        value: bytes | None,
        fields: Iterable[str] | None = None,
        commands: Iterable[Command] = (),
        revisions: Mapping[str, int | None] = NO_REVISIONS,
    ) -> int:
        """Write a subscription, or delete it if *value* is None; returns the revision.

        Args:
            subscription_id: the key of the record.
            value: the value of the record.
            fields: see `read_fields`.
            commands: the commands of earlier revisions (commands.py).
            revisions: the values of the headers above, by name; None: without that header.

        Raises:
            BrokerError: the record was not written.
            ConfigurationError: the record is too large.
            UnconfirmedError: the broker did not confirm the write in time.
        """
        if not self._is_open:
            raise BrokerError(f"topic {self._topic}: the store is not open")
        producer = await self._producer.started()
        try:
            changed = [] if fields is None else [(FIELDS_HEADER, ",".join(sorted(fields)).encode())]
            related = [(name, str(number).encode()) for name, number in revisions.items() if number is not None]
            headers = [*changed, *related, *written(commands)]
            sent = await producer.send_and_wait(
                self._topic, value, key=subscription_id.encode(), partition=0, headers=headers
            )
        except (KafkaError, BrokerError) as error:  # BrokerError: another write is replacing the producer
            await self._producer.replace(producer)
            begins = f"topic {self._topic}: subscription {subscription_id} was not written"
            if isinstance(error, MessageSizeTooLargeError):
                raise ConfigurationError(f"{begins}: {_size(value)}") from error
            is_open = isinstance(error, KafkaTimeoutError | BrokerError) or error.retriable
            kind = UnconfirmedError if is_open else BrokerError
            raise kind(f"{begins}: {error}") from error
        revision: int = sent.offset
        self._on_written(subscription_id, revision)
        logger.info("subscription %s: revision %d %s", subscription_id, revision, "written" if value else "deletes it")
        return revision


def read_fields(headers: Iterable[tuple[str, bytes]]) -> frozenset[str] | None:
    """The fields of `WireSubscription` that a record changes, according to its header; None: all."""
    for name, value in headers:
        if name == FIELDS_HEADER:
            return frozenset(value.decode(errors="replace").split(","))
    return None


def read_revision(header: str, headers: Iterable[tuple[str, bytes]]) -> int | None:
    """The revision in one of the headers above, or `ABSENT`; None without that header."""
    for name, value in headers:
        if name == header and re.fullmatch(rb"-1|[0-9]{1,19}", value):
            return int(value)
    return None


def _size(value: bytes | None) -> str:
    allowed = f"at most {LARGEST_RECORD:,}, and at most max.message.bytes of the topic"
    return f"it has {len(value or b''):,} bytes; allowed: {allowed}"
