"""Writes undeliverable events to the dead-letter topic. An event is settled when the broker has confirmed its letter.

Called by `Delivery` (core/delivery.py). The format of the record: docs/design.md, Dead letters.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from pipeline.core.clock import rfc3339
from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.errors import NotDeadLetteredError
from pipeline.core.model import DEAD_LETTER_PREFIX, Event
from pipeline.core.outcome import Rejected, ServerError, describe
from pipeline.core.redaction import shown_url
from pipeline.core.webhook_ids import SEAL, WebhookIds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import start_or_disconnect
from pipeline.kafka.late_producer import LateProducer

logger = logging.getLogger(__name__)

PERMANENT_ERRORS: Final = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTopicError,
)
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0


def headers_of(letter: DeadLetterRecord, ids: WebhookIds) -> list[tuple[str, bytes]]:
    """The record's own headers, unchanged, and `dlq.*` headers in place of those of an earlier dead letter.

    Args:
        letter: the dead letter to be written.
        ids: determines the webhook-id of the event, and seals it for a redrive.
    """
    event = letter.event
    webhook_id = ids.of(event)
    outcome = letter.outcome
    facts: dict[str, str | None] = {
        "reason": letter.reason,
        "status": str(outcome.status) if isinstance(outcome, Rejected | ServerError) else None,
        "error": None if outcome is None else describe(outcome),
        "attempts": str(letter.attempts),
        "first-attempt-at": letter_time(letter.first_attempt_at),
        "last-attempt-at": letter_time(letter.last_attempt_at),
        "subscription": letter.subscription,
        "url": None if letter.url is None else shown_url(letter.url),
        "topic": event.topic,
        "partition": str(event.partition),
        "offset": str(event.offset),
        "timestamp": str(event.timestamp),
        "webhook-id": webhook_id,
    }
    headers = [(name, value) for name, value in event.headers if not name.startswith(DEAD_LETTER_PREFIX)]
    headers += [(DEAD_LETTER_PREFIX + name, fact.encode()) for name, fact in facts.items() if fact is not None]
    if isinstance(outcome, Rejected | ServerError):
        headers.append((DEAD_LETTER_PREFIX + "response", outcome.response))
    seal = ids.seal(event, webhook_id)
    if seal is not None:
        headers.append((SEAL, seal))
    return headers


def letter_time(moment: float | None) -> str | None:
    """*moment*, Unix seconds, as RFC 3339; None for None and for a time beyond the calendar."""
    return None if moment is None else rfc3339(moment, "milliseconds", "+00:00")


def written_value(event: Event) -> bytes | None:
    """The value to write: aiokafka can't write a record that has neither key nor value, so the value becomes empty."""
    return b"" if event.key is None and event.value is None else event.value


class KafkaDeadLetterWriter:
    """Writes to the dead-letter topic, which may be on another cluster than the source.

    Args:
        on_failure: called with the error of each failed write, which is then tried again.
        ids: determines the webhook-id of an event, and seals it for a redrive.
    """

    def __init__(
        self, connection: KafkaConnection, topic: str, on_failure: Callable[[str], None], ids: WebhookIds | None = None
    ) -> None:
        self.topic = topic
        self._connection = connection
        self._on_failure = on_failure
        self._ids = ids or WebhookIds()
        self._producer = LateProducer(self._start)

    async def put(self, letter: DeadLetterRecord) -> None:
        """Write one letter; see `DeadLetterWriter.put`.

        Tries again without a limit while the broker is down, or refuses the write because a right is missing. Raises
        only if the broker will never accept the letter; `Runner._dead_letter` (core/runner.py) says what follows.
        """
        headers = headers_of(letter, self._ids)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._send(letter.event, headers)
            except PERMANENT_ERRORS as error:
                raise NotDeadLetteredError(f"topic {self.topic} refuses the dead letter: {error!r}") from error
            except (KafkaError, OSError) as error:
                self._on_failure(repr(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return

    async def _send(self, event: Event, headers: Sequence[tuple[str, bytes]]) -> None:
        producer = await self._producer.started()
        try:
            await producer.send_and_wait(self.topic, written_value(event), event.key, headers=headers)
        except KafkaError as error:
            if not error.retriable:
                await self._producer.replace(producer)
            raise

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=not self._connection.embedded,
            max_request_size=16 * 1024 * 1024,
            **self._connection.client_options(),
        )
        await start_or_disconnect(producer)
        return producer

    async def close(self) -> None:
        """Flush and disconnect."""
        await self._producer.close()
