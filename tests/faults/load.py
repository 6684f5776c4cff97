"""The load: events for all subscriptions in turn, of several sizes, at an even rate, until it is stopped."""

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
"""Sizes of the padding in bodies, in bytes. Most events are small. Each subscription gets all sizes."""

PER_SECOND: Final = {Routing.KEY: 300.0, Routing.MATCH: 75.0}
"""Events per second. With `match`, an event has four deliveries on average (audience.py)."""

BUFFERED_EVENTS: Final = 20_000
"""The largest number of events that wait for brokers: a minute of load. While the queue is full, no event is made."""

LEAST_SHARE: Final = 0.9
"""If the brokers have acknowledged a smaller share of the due events, the run says little about the fault."""

_TICK_SECONDS: Final = 0.02
_ACKNOWLEDGED_SECONDS: Final = 60.0
"""How long to wait for the last acknowledgements."""


def event(number: int, subscriptions: Sequence[str]) -> tuple[str, bytes]:
    """The subscription and the body of the event with this number, which begins with 0."""
    sequence, place = divmod(number, len(subscriptions))
    # Shifted with each round, so that a subscription gets all sizes.
    padding = "x" * PADDING[(place + sequence) % len(PADDING)]
    body = {"subscription": subscriptions[place], "sequence": sequence, "padding": padding}
    return subscriptions[place], json.dumps(body).encode()


def place(number: int, subscriptions: Sequence[str], topics: Sequence[str]) -> str:
    """The topic of the event with this number. Each topic gets events of every size for every subscription."""
    sequence, turn = divmod(number, len(subscriptions))
    return topics[(turn + sequence // 2) % len(topics)]


@dataclass
class Load:
    """Produces events until it is stopped.

    One idempotent producer is used, whatever happens to the brokers. It retries each event until it is acknowledged,
    keeps the order and writes no event twice. librdkafka does this without a time limit. aiokafka would drop a batch
    after its request timeout, together with all later batches.

    Attributes:
        topics: the topics to which events are produced.
        due: how many events the rate required.
        acknowledged: the webhook-ids of the events that the brokers have acknowledged.
        unsure: the number of events without an acknowledgement. Only the topic shows whether it contains them.
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
        """The share of the due events that the brokers have acknowledged, from 0 to 1."""
        return share(self.sent, self.due)

    def stop(self) -> None:
        """Stop producing."""
        self._stopping.set()

    async def run(self) -> None:
        """Produce, and return when every event is acknowledged or given up."""
        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # no time limit
                "queue.buffering.max.messages": self.buffered_events,
                "linger.ms": 5,
                "partitioner": "murmur2_random",  # Kafka's default; stage.py selects names with it
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
            # The remaining events are given up. Their callbacks count them.
            producer.purge()
            producer.poll(0)

    async def _paced(self, producer: Producer) -> AsyncIterator[int]:
        """Yields the number of each event when it is due."""
        self._began = asyncio.get_running_loop().time()
        count = 0
        while not self._stopping.is_set():
            due = self.due
            for number in range(count, due):
                yield number
            count = due
            await self._pause(producer)

    async def _put(self, producer: Producer, number: int) -> bool:
        """Produce an event when the producer's queue has room. Returns False if the load was stopped before."""
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
        # Events are due even while the queue is full, so that the share counts events that could not be made.
        self.due = int((asyncio.get_running_loop().time() - self._began) * self.per_second)

    def _noted(self, error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is None and offset is not None and offset >= 0:
            self.acknowledged.add(f"{message.topic()}-{message.partition()}-{offset}")
            return
        # Without an offset, a broker has found that the event is already in the log.
        self.unsure += 1
        logger.warning("an event for %s is not acknowledged: %s", message.key(), error)


def share(sent: int, due: int) -> float:
    """The share of *due* events that were *sent*, from 0 to 1; 0 if nothing was due."""
    return 0.0 if due <= 0 else min(1.0, sent / due)


def too_little(sent: int, due: int) -> list[str]:
    """A sentence if too small a share of the load counted; else None."""
    found = share(sent, due)
    if found >= LEAST_SHARE:
        return []
    return [f"only {sent} of {due} events of the load counted ({found:.0%}), less than {LEAST_SHARE:.0%}"]
