"""Several stores that write to one topic in memory, in an order that a seed determines."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from cryptography.fernet import Fernet

from pipeline.config.definition import Definition
from pipeline.core.model import PlainEvent
from pipeline.core.subscription import Routing
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.tail import Tail
from pipeline.kafka.topics import Source
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore

CONNECTION = KafkaConnection(("localhost:1",))
KEY = Fernet.generate_key().decode()
LONGEST_PAUSE = 6


@dataclass
class SharedTopic:
    """A topic in memory. Each write and each reading waits for a random number of turns of the event loop."""

    seed: int
    records: list[PlainEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def pause(self) -> None:
        for _ in range(self._random.randrange(LONGEST_PAUSE)):
            await asyncio.sleep(0)

    def store(self) -> tuple[SubscriptionStore, Registry]:
        """A store and its registry, as if they were in a separate process."""
        definition, box = (
            Definition("orders", Source(CONNECTION, "events"), stated_routing=Routing.KEY),
            SecretBox((KEY,)),
        )
        registry = Registry(CONNECTION, "subscriptions", box, definition)
        registry._tail = cast("Tail", _Tail(self, registry._take))
        store = SubscriptionStore(registry, CONNECTION, "subscriptions", box, definition)
        store._writer._producer._producer, store._writer._is_open = cast("AIOKafkaProducer", _Producer(self)), True
        return store, registry


@dataclass
class _Tail:
    topic: SharedTopic
    take: Callable[[PlainEvent], None]
    position: int = 0

    async def caught_up(self) -> None:
        await self.topic.pause()
        end = len(self.topic.records)
        await self.topic.pause()
        for record in self.topic.records[self.position : end]:
            self.take(record)
        self.position = max(self.position, end)


@dataclass
class _Producer:
    topic: SharedTopic

    async def send_and_wait(
        self, topic: str, value: bytes | None, *, key: bytes, partition: int, headers: Sequence[tuple[str, bytes]]
    ) -> Any:
        await self.topic.pause()
        record = PlainEvent(topic, partition, len(self.topic.records), key, value, list(headers))
        self.topic.records.append(record)
        await self.topic.pause()
        return record
