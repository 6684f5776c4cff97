"""An admin client of a cluster, the partitions of its topics, and the partitions without a leader."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from pipeline.core.errors import BrokerError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import AdminClient, closed
from pipeline.kafka.unreachable import why_unreachable

REQUEST_TIMEOUT_MS: Final = 10_000
NOT_REACHED: Final = "no broker could be reached, or none answered in time"
_SILENCES: Final = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError, TimeoutError)
"""The messages of these errors describe aiokafka's objects."""

LEADER_SECONDS: Final = 10.0
LEADER_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of a topic.

    Attributes:
        count: how many there are.
        leaderless: the partitions without a leader, because all their replicas are down. They can't be read or written.
    """

    count: int
    leaderless: frozenset[int] = frozenset()

    @property
    def led(self) -> list[int]:
        """The partitions with a leader, which can be read and written."""
        return [number for number in range(self.count) if number not in self.leaderless]

    def troubles(self, topic: str) -> list[str]:
        """A sentence that begins with the topic and names the partitions without a leader; empty if all have one."""
        if not self.leaderless:
            return []
        numbers = ", ".join(map(str, sorted(self.leaderless)))
        which, have, them = ("partition", "has", "it") if len(self.leaderless) == 1 else ("partitions", "have", "them")
        return [
            f"topic {topic}: {which} {numbers} {have} no leader; the records in {them} wait until a broker leads {them}"
        ]


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
        await closed(admin)


async def _start(admin: AIOKafkaAdminClient, connection: KafkaConnection) -> None:
    try:
        await admin.start()
    except KafkaConnectionError as error:
        reason = await why_unreachable(connection)
        if reason is None:
            raise
        raise BrokerError(_unusable(connection, reason)) from error


async def find_partitions(admin: AIOKafkaAdminClient, names: Iterable[str] | None = None) -> dict[str, Partitions]:
    """The partitions of topics. Topics that don't exist, or that this user may not see, are left out.

    Args:
        admin: a connected client.
        names: topics that exist, because a broker may create a topic when a client asks about it; None for all topics.
    """
    described: list[dict[str, Any]] = await admin.describe_topics(None if names is None else list(names))
    return {
        each["topic"]: Partitions(
            len(each["partitions"]),
            frozenset(partition["partition"] for partition in each["partitions"] if partition["leader"] < 0),
        )
        for each in described
        if not each["error_code"]
    }


async def existing_topics(connection: KafkaConnection) -> dict[str, Partitions]:
    """The partitions of all topics of a cluster; see `find_partitions`.

    Raises:
        BrokerError: the cluster can't be reached.
    """
    async with administration(connection) as admin:
        return await find_partitions(admin)


async def partition_counts(admin: AIOKafkaAdminClient, names: Iterable[str] | None = None) -> dict[str, int]:
    """The number of partitions of each topic; see `find_partitions`."""
    return {name: found.count for name, found in (await find_partitions(admin, names)).items()}


async def topic_setting(connection: KafkaConnection, topic: str, name: str) -> str | None:
    """The value of a topic's setting. None if the setting has no value, or if this user may not read it.

    Raises:
        BrokerError: the cluster can't be reached.
    """
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: None})
    async with administration(connection) as admin:
        answers = await admin.describe_configs([resource])
    readable = (entries for answer in answers for code, *_, entries in answer.resources if not code)
    values = {key: value for entries in readable for key, value, *_ in entries}
    return None if (value := values.get(name)) is None else str(value)


async def until_led(admin: AIOKafkaAdminClient, wanted: Mapping[str, range]) -> None:
    """Wait until each topic has the *wanted* partitions, each with a leader.

    Raises:
        BrokerError: the partitions had no leaders in time.
    """
    try:
        async with asyncio.timeout(LEADER_SECONDS):
            while not _are_led(wanted, await find_partitions(admin)):  # noqa: ASYNC110  # the broker sends no notice
                await asyncio.sleep(LEADER_PAUSE_SECONDS)
    except TimeoutError:
        raise BrokerError(f"topics {', '.join(sorted(wanted))}: were created, but have no leaders yet") from None


def _are_led(wanted: Mapping[str, range], found: Mapping[str, Partitions]) -> bool:
    return all(name in found and set(numbers) <= set(found[name].led) for name, numbers in wanted.items())


def unreachable(connection: KafkaConnection, error: Exception) -> str:
    """A message that the cluster can't be used, because a client of it has failed with *error*."""
    reason = NOT_REACHED if isinstance(error, _SILENCES) else str(error) or type(error).__name__
    return _unusable(connection, reason)


def _unusable(connection: KafkaConnection, reason: str) -> str:
    return f"Kafka at {','.join(connection.bootstrap_servers)} can't be used: {reason}"
