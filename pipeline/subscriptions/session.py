"""Opens the store and its registry for the duration of one command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError
from pipeline.http.ssrf_guard import Guard
from pipeline.kafka.topics import count_partitions, subscriptions_topic
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.subscriptions.writer import OnWritten, unheard

READ_SECONDS: Final = 30.0
"""How long a command waits until it has read all subscriptions. Ten thousand take about two seconds."""


@asynccontextmanager
async def opened_registry(settings: Settings, definition: Definition) -> AsyncIterator[Registry]:
    """A registry that has read all subscriptions. It is stopped at the end.

    Raises:
        BrokerError: the cluster can't be reached, or the topic does not exist or can't be read.
    """
    connection, topic = definition.source.connection, subscriptions_topic(settings.app)
    # A registry waits for a missing topic indefinitely, for workers. A command reports the missing topic at once.
    await count_partitions(connection, topic)
    registry = Registry(connection, topic, secret_box(settings), definition)
    await registry.start()
    try:
        await _read(registry, topic)
        yield registry
    finally:
        await registry.stop()


@asynccontextmanager
async def opened_store(
    settings: Settings, definition: Definition, on_written: OnWritten = unheard
) -> AsyncIterator[SubscriptionStore]:
    """A store that has read all subscriptions. It is closed at the end. It calls *on_written* for each new revision.

    Raises:
        BrokerError: see `opened_registry`.
    """
    connection, topic = definition.source.connection, subscriptions_topic(settings.app)
    async with opened_registry(settings, definition) as registry:
        guard = Guard(settings.allow_private_networks)
        box = secret_box(settings)
        store = SubscriptionStore(registry, connection, topic, box, definition, guard=guard, on_written=on_written)
        try:
            await store.open()
            yield store
        finally:
            await store.close()


def secret_box(settings: Settings) -> SecretBox:
    """A box with the keys of the settings. Raises: ConfigurationError, if there is no key or a key is invalid."""
    return SecretBox([key.get_secret_value() for key in settings.secret_keys])


async def _read(registry: Registry, topic: str) -> None:
    try:
        async with asyncio.timeout(READ_SECONDS):
            await registry.ready()
    except TimeoutError:
        reason = registry.last_error or f"topic {topic}: could not be read within {READ_SECONDS:.0f} s"
        raise BrokerError(reason) from None
