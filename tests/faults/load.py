"""The load: events of every subscription in turn, of several sizes, at an even pace, for as long as it is wanted."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from pipeline.kafka.disconnect import disconnect
from tests.support.brokers import TestBroker

logger = logging.getLogger(__name__)

PADDING: Final = (64, 64, 64, 64, 64, 64, 64, 1024, 1024, 16_384)
"""Sizes of bodies, in bytes beyond the numbers in them; most events are small, and each subscription has all sizes."""

_TICK_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 0.5
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
    _spoilt: set[AIOKafkaProducer] = field(default_factory=set)

    @property
    def sent(self) -> int:
        """How many events the brokers have acknowledged."""
        return len(self.acknowledged)

    def stop(self) -> None:
        """Produce no more."""
        self._stopping.set()

    async def run(self) -> None:
        """Produce, and return when every event is acknowledged or given up.

        Raises:
            KafkaError: no broker can be reached when it is stopped.
        """
        pending: set[asyncio.Task[None]] = set()
        producer = await self._started()
        try:
            async for number in self._paced():
                if producer in self._spoilt:
                    await disconnect(producer)
                    producer = await self._started()
                task = asyncio.create_task(self._send(producer, number))
                pending.add(task)
                task.add_done_callback(pending.discard)
            if pending:
                await asyncio.wait(pending, timeout=_ACKNOWLEDGED_SECONDS)
        finally:
            self.unsure += len(pending)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            await disconnect(producer)

    async def _started(self) -> AIOKafkaProducer:
        """A producer, as soon as there is a broker."""
        while True:
            producer = AIOKafkaProducer(
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                request_timeout_ms=20_000,
                metadata_max_age_ms=5_000,
                **self.broker.connection.client_options(),
            )
            try:
                await producer.start()
            except KafkaError:
                await disconnect(producer)
                if self._stopping.is_set():
                    raise
                await self._pause(_RETRY_SECONDS)
            else:
                return producer

    async def _paced(self) -> AsyncIterator[int]:
        """The numbers of the events, each when it is due."""
        loop = asyncio.get_running_loop()
        began, count = loop.time(), 0
        while not self._stopping.is_set():
            due = int((loop.time() - began) * self.per_second)
            for number in range(count, due):
                yield number
            count = due
            await self._pause(_TICK_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _send(self, producer: AIOKafkaProducer, number: int) -> None:
        subscription, body = event(number, self.subscriptions)
        try:
            place = await producer.send_and_wait(self.topic, body, subscription.encode())
        except KafkaError as error:
            logger.warning("event %d is not acknowledged: %r", number, error)
            self.unsure += 1
            if not error.retriable:
                # It has counted the event, and whatever it sends there from now on is refused as out of order.
                self._spoilt.add(producer)
        else:
            self.acknowledged.add(f"{place.topic}-{place.partition}-{place.offset}")
