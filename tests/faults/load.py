"""The load: events of every subscription in turn, of several sizes, at an even pace, for as long as it is wanted."""

import asyncio
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.disconnect import disconnect
from tests.brokers import TestBroker

PADDING: Final = (64, 64, 64, 64, 64, 64, 64, 1024, 1024, 16_384)
"""Sizes of bodies, in bytes beyond the numbers in them; most events are small, and each subscription has all sizes."""

_TICK_SECONDS: Final = 0.02
_ACKNOWLEDGED_SECONDS: Final = 60.0
"""So long the last acknowledgements are waited for; an idempotent producer would wait for them for ever."""


def event(number: int, subscriptions: Sequence[str]) -> tuple[str, bytes]:
    """The subscription and the body of the event with this number, from 0."""
    sequence, place = divmod(number, len(subscriptions))
    # Shifted with each round, or a subscription would have one size for ever.
    padding = "x" * PADDING[(place + sequence) % len(PADDING)]
    body = {"subscription": subscriptions[place], "sequence": sequence, "padding": padding}
    return subscriptions[place], json.dumps(body).encode()


@dataclass
class Load:
    """Produces events until it is stopped.

    Attributes:
        acknowledged: the webhook-ids of the events that the brokers have acknowledged.
        unsure: how many acknowledgements did not come; the topic says whether those events are in it.
    """

    broker: TestBroker
    topic: str
    subscriptions: Sequence[str]
    per_second: float
    acknowledged: set[str] = field(default_factory=set)
    unsure: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sent(self) -> int:
        """How many events the brokers have acknowledged."""
        return len(self.acknowledged)

    def stop(self) -> None:
        """Produce no more."""
        self._stopping.set()

    async def run(self) -> None:
        """Produce, and return when every event is acknowledged or given up."""
        options = self.broker.connection.client_options()
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=20_000,
            metadata_max_age_ms=5_000,
            **options,
        )
        await producer.start()
        pending: set[asyncio.Task[None]] = set()
        try:
            await self._produce(producer, pending)
            if pending:
                await asyncio.wait(pending, timeout=_ACKNOWLEDGED_SECONDS)
        finally:
            self.unsure += len(pending)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            await disconnect(producer)

    async def _produce(self, producer: AIOKafkaProducer, pending: set[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        began, numbers = loop.time(), itertools.count()
        count = 0
        while not self._stopping.is_set():
            due = int((loop.time() - began) * self.per_second)
            for number in itertools.islice(numbers, max(0, due - count)):
                task = asyncio.create_task(self._send(producer, number))
                pending.add(task)
                task.add_done_callback(pending.discard)
            count = max(count, due)
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def _send(self, producer: AIOKafkaProducer, number: int) -> None:
        subscription, body = event(number, self.subscriptions)
        try:
            place = await producer.send_and_wait(self.topic, body, subscription.encode())
        except KafkaError:
            self.unsure += 1
        else:
            self.acknowledged.add(f"{place.topic}-{place.partition}-{place.offset}")
