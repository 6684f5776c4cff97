"""Shared by the readers of whole topics (tail.py, follower.py): a consumer without a group, and the retries."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka.errors import KafkaError

from pipeline.core.clock import Clock, steady_now
from pipeline.core.errors import BrokerError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.records import AIOKafkaConsumer

logger = logging.getLogger(__name__)

KAFKA_WAIT_MS: Final = 500
EMBEDDED_WAIT_MS: Final = 50
"""How long a broker may hold a fetch. Kafka answers as soon as there is a record; the embedded broker always waits."""
REQUEST_TIMEOUT_MS: Final = 10_000
LOOK_SECONDS: Final = 10.0
"""How often a reader checks whether the broker still answers. A consumer does not report a silent broker."""
FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 5.0


def lone_consumer(connection: KafkaConnection, **options: Any) -> AIOKafkaConsumer:
    """A consumer without a group, with the isolation level `read_committed`."""
    return AIOKafkaConsumer(
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        fetch_max_wait_ms=EMBEDDED_WAIT_MS if connection.embedded else KAFKA_WAIT_MS,
        **options,
        **connection.consumer_options(),
    )


async def require_topic(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Check that the topic exists, without creating it.

    Raises:
        BrokerError: the topic does not exist.
    """
    if topic not in await consumer.topics():
        raise BrokerError("does not exist, or this user may not see it")


def reason_of(error: Exception) -> str:
    """The text of an error, or its type if it has no text."""
    return str(error) or type(error).__name__


async def keep_following(
    topic: str,
    follow: Callable[[], Awaitable[None]],
    note_trouble: Callable[[str], None],
    clock: Clock,
) -> None:
    """Follow a topic indefinitely. After any error, try again.

    Args:
        topic: the name of the topic, for the log.
        follow: follows the topic until something fails.
        note_trouble: called with the reason of each failure.
        clock: times the pauses between attempts, which grow until an attempt has succeeded for a while.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = steady_now()
        try:
            await follow()
        except (KafkaError, BrokerError, OSError) as error:
            note_trouble(reason_of(error))
        except Exception as error:  # after any error, deliveries continue and this is retried
            logger.exception("topic %s can't be followed", topic)
            note_trouble(f"internal error: {type(error).__name__}")
        has_lasted = steady_now() - began > LOOK_SECONDS
        pause = FIRST_PAUSE_SECONDS if has_lasted else min(2 * pause, LONGEST_PAUSE_SECONDS)
        await clock.sleep(pause)
