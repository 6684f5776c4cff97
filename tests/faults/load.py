"""The load: events of every subscription in turn, of several sizes, at an even pace, for as long as it is wanted."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from pipeline.core.subscription import Routing
from tests.support.brokers import TestBroker

logger = logging.getLogger(__name__)

PADDING: Final = (64, 64, 64, 64, 64, 64, 64, 1024, 1024, 16_384)
"""Sizes of bodies, in bytes beyond the numbers in them; most events are small, and each subscription has all sizes."""

PER_SECOND: Final = {Routing.KEY: 300.0, Routing.MATCH: 75.0}
"""How many events there are. With `match` an event has four deliveries on average (audience.py)."""

BUFFERED_EVENTS: Final = 20_000
"""How many events wait for the brokers at most: a minute of them. While it is full none is made."""

LEAST_SHARE: Final = 0.9
"""A run whose brokers have acknowledged less of what was due says little of the fault."""

_TICK_SECONDS: Final = 0.02
_ACKNOWLEDGED_SECONDS: Final = 60.0
"""How long the last acknowledgements are waited for."""


def event(number: int, subscriptions: Sequence[str]) -> tuple[str, bytes]:
    """The subscription and the body of the event with this number, from 0."""
    sequence, place = divmod(number, len(subscriptions))
    # Shifted with each round, or a subscription would have one size for ever.
    padding = "x" * PADDING[(place + sequence) % len(PADDING)]
    body = {"subscription": subscriptions[place], "sequence": sequence, "padding": padding}
    return subscriptions[place], json.dumps(body).encode()


def place(number: int, subscriptions: Sequence[str], topics: Sequence[str]) -> str:
    """The topic of the event with this number: of every subscription, each topic has events of every size."""
    sequence, turn = divmod(number, len(subscriptions))
    return topics[(turn + sequence // 2) % len(topics)]


@dataclass
class Load:
    """Produces events until it is stopped.

    One idempotent producer, whatever happens to the brokers: it tries each event again until it is acknowledged, keeps
    their order and writes none twice. librdkafka does so without a time limit, where aiokafka gives a batch up after
    its request timeout, and what follows it with it.

    Attributes:
        topics: where to.
        due: how many events the pace asked for.
        acknowledged: the webhook-ids of the events that the brokers have acknowledged.
        unsure: how many acknowledgements did not come; the topic says whether those events are in it.
    """

    broker: TestBroker
    topics: Sequence[str]
    subscriptions: Sequence[str]
    per_second: float
    buffered_events: int = BUFFERED_EVENTS
    acknowledged_seconds: float = _ACKNOWLEDGED_SECONDS
    due: int = 0
    acknowledged: set[str] = field(default_factory=set)
    unsure: int = 0
    _began: float = 0.0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sent(self) -> int:
        """How many events the brokers have acknowledged."""
        return len(self.acknowledged)

    @property
    def share(self) -> float:
        """How much of what was due the brokers have acknowledged, from 0 to 1."""
        return share(self.sent, self.due)

    def stop(self) -> None:
        """Produce no more."""
        self._stopping.set()

    async def run(self) -> None:
        """Produce, and return when every event is acknowledged or given up."""
        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # none
                "queue.buffering.max.messages": self.buffered_events,
                "linger.ms": 5,
                "partitioner": "murmur2_random",  # Kafka's own: stage.py chooses names by it
                "topic.metadata.refresh.interval.ms": 5_000,
                "reconnect.backoff.ms": 200,
                "reconnect.backoff.max.ms": 1_000,
                "logger": logger,
            }
        )
        try:
            async for number in self._paced(producer):
                if not await self._put(producer, number):
                    break
            await self._until_acknowledged(producer)
        finally:
            # What is left is given up; the callback of each says so.
            producer.purge()
            producer.poll(0)

    async def _paced(self, producer: Producer) -> AsyncIterator[int]:
        """The numbers of the events, each when it is due."""
        self._began = asyncio.get_running_loop().time()
        count = 0
        while not self._stopping.is_set():
            due = self.due
            for number in range(count, due):
                yield number
            count = due
            await self._pause(producer)

    async def _put(self, producer: Producer, number: int) -> bool:
        """Hand an event to the producer, when it has room; whether it did before the load was stopped."""
        subscription, body = event(number, self.subscriptions)
        topic = place(number, self.subscriptions, self.topics)
        while True:
            try:
                producer.produce(topic, body, subscription, on_delivery=self._noted)
            except BufferError:
                if self._stopping.is_set():
                    return False
                await self._pause(producer)
            else:
                return True

    async def _until_acknowledged(self, producer: Producer) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.acknowledged_seconds):
                while len(producer):
                    producer.poll(0)
                    await asyncio.sleep(_TICK_SECONDS)

    async def _pause(self, producer: Producer) -> None:
        producer.poll(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TICK_SECONDS):
                await self._stopping.wait()
        # Also while there is no room: what the brokers keep from being made is no part of the load that counts.
        self.due = int((asyncio.get_running_loop().time() - self._began) * self.per_second)

    def _noted(self, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None and offset >= 0:
            self.acknowledged.add(f"{message.topic()}-{message.partition()}-{offset}")
            return
        # Without an offset it is one that a broker has found to be there already.
        self.unsure += 1
        logger.warning("an event for %s is not acknowledged: %s", message.key(), error)


def share(sent: int, due: int) -> float:
    """How much of what was *due* was *sent*, from 0 to 1; none of it where nothing was due."""
    return 0.0 if due <= 0 else min(1.0, sent / due)


def too_little(sent: int, due: int) -> list[str]:
    """A sentence, if a run counts too little of its load to say anything."""
    found = share(sent, due)
    if found >= LEAST_SHARE:
        return []
    return [f"only {sent} of {due} events of the load counted ({found:.0%}), less than {LEAST_SHARE:.0%}"]
