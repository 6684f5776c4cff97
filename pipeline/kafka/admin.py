"""An admin client of a cluster, and how many partitions its topics have."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from pipeline.core.errors import BrokerError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import AdminClient
from pipeline.kafka.unreachable import why_unreachable

REQUEST_TIMEOUT_MS: Final = 10_000
LEADER_SECONDS: Final = 10.0
LEADER_PAUSE_SECONDS: Final = 0.1


@asynccontextmanager
async def administration(connection: KafkaConnection) -> AsyncIterator[AdminClient]:
    """A connected client.

    Raises:
        BrokerError: the cluster can't be reached, or a request of the client failed.
    """
    admin = AdminClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **connection.client_options())
    try:
        await _start(admin, connection)
        yield admin
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await admin.close()


async def _start(admin: AIOKafkaAdminClient, connection: KafkaConnection) -> None:
    try:
        await admin.start()
    except KafkaConnectionError as error:
        reason = await why_unreachable(connection)
        if reason is None:
            raise
        raise BrokerError(_unusable(connection, reason)) from error


async def partition_counts(admin: AIOKafkaAdminClient, names: Iterable[str] | None = None) -> dict[str, int]:
    """The number of partitions of each topic, without topics that don't exist or have a partition without a leader.

    Args:
        admin: connected.
        names: existing topics, because a broker may create a topic that it is asked about; None: all topics.
    """
    described: list[dict[str, Any]] = await admin.describe_topics(None if names is None else list(names))
    return {
        each["topic"]: len(each["partitions"])
        for each in described
        if not each["error_code"] and all(partition["leader"] >= 0 for partition in each["partitions"])
    }


async def until_led(admin: AIOKafkaAdminClient, wanted: Mapping[str, int]) -> None:
    """Wait until each topic has at least the *wanted* number of partitions, and each partition a leader.

    Raises:
        BrokerError: that took too long.
    """
    try:
        async with asyncio.timeout(LEADER_SECONDS):
            while not _are_led(wanted, await partition_counts(admin)):  # noqa: ASYNC110  # the broker sends no notice
                await asyncio.sleep(LEADER_PAUSE_SECONDS)
    except TimeoutError:
        raise BrokerError(f"topics {', '.join(sorted(wanted))}: created, but without leaders so far") from None


def _are_led(wanted: Mapping[str, int], found: Mapping[str, int]) -> bool:
    return all(found.get(name, 0) >= count for name, count in wanted.items())


def unreachable(connection: KafkaConnection, error: Exception) -> str:
    """The message for an error of a client of this cluster."""
    return _unusable(connection, str(error) or type(error).__name__)


def _unusable(connection: KafkaConnection, reason: str) -> str:
    return f"Kafka at {','.join(connection.bootstrap_servers)} can't be used: {reason}"
