"""The store and the registry it needs, for as long as one command takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError
from pipeline.kafka.topics import count_partitions, subscriptions_topic
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore

READ_SECONDS: Final = 30.0
"""How long a command waits until all subscriptions are read; ten thousand take about two."""


@asynccontextmanager
async def opened_store(settings: Settings, definition: Definition) -> AsyncIterator[SubscriptionStore]:
    """A store that has read what there is; closed at the end.

    Raises:
        BrokerError: the cluster can't be reached, or the topic does not exist or can't be read.
    """
    connection, topic = definition.source.connection, subscriptions_topic(settings.app)
    # A registry waits for a topic for ever, as a worker has to; a command says at once that it is not there.
    await count_partitions(connection, topic)
    box = SecretBox([key.get_secret_value() for key in settings.secret_keys])
    registry = Registry(connection, topic, box, definition, lambda _id, _subscription: None)
    store = SubscriptionStore(registry, connection, topic, box, definition)
    await registry.start()
    try:
        await store.open()
        await _read(registry, topic)
        yield store
    finally:
        await store.close()
        await registry.stop()


async def _read(registry: Registry, topic: str) -> None:
    try:
        async with asyncio.timeout(READ_SECONDS):
            await registry.ready()
    except TimeoutError:
        reason = registry.last_error or f"topic {topic}: was not read in {READ_SECONDS:.0f} s"
        raise BrokerError(reason) from None
