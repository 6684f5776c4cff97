"""The events of the benchmarks. A body contains the numbers of subscription and event, and the time of production.

b"17 204 1760000000.123456      "     subscription 17, event 204 of it, Unix seconds, blanks up to the size
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, cycle
from typing import Final

from aiokafka import AIOKafkaProducer

from tests.support.brokers import TestBroker

BATCH_BYTES: Final = 256 * 1024
LINGER_MS: Final = 5
LATE_SECONDS: Final = 1.0
"""The longest time that a producer may be late. With more, it has not produced the required load."""


def subscription_id(number: int) -> str:
    """The id of the subscription with this number, which is also the key of the subscription's events."""
    return f"sub-{number}"


def body(number: int, sequence: int, size: int) -> bytes:
    """The body of an event that is produced now. It has *size* bytes, or more if its content is longer."""
    return (b"%d %d %.6f " % (number, sequence, time.time())).ljust(size)


def in_turn(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (subscription, sequence) endlessly: each of *numbers* with sequence 1, then each with 2, and so on."""
    turns = list(numbers)
    return ((number, 1 + place // len(turns)) for place, number in zip(count(), cycle(turns), strict=False))


def no_type(_number: int, _sequence: int) -> bytes | None:
    """Return None, as `type_of` for events without a type."""


async def fill(
    broker: TestBroker,
    topic: str,
    events: Iterable[tuple[int, int]],
    size: int,
    type_of: Callable[[int, int], bytes | None] = no_type,
) -> None:
    """Append events to a topic, and return when the broker has all of them.

    Args:
        broker: the broker of the topic.
        topic: the topic to which the events are appended.
        events: the subscription and the sequence of each event.
        size: the number of bytes of each event.
        type_of: returns the CloudEvents type of an event, or None.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap, linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES, acks="all"
    )
    await producer.start()
    try:
        for number, sequence in events:
            kind = type_of(number, sequence)
            headers = [] if kind is None else [("ce_type", kind)]
            await producer.send(topic, body(number, sequence, size), subscription_id(number).encode(), headers=headers)
    finally:
        await producer.stop()


async def pace(
    broker: TestBroker, topic: str, events: Iterable[tuple[int, int]], *, per_second: float, size: int
) -> None:
    """Append each (subscription, sequence) of *events* as an event, one by one at a steady rate.

    Raises:
        TimeoutError: this machine can't produce at this rate.
    """
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, linger_ms=0, acks=1)
    await producer.start()
    try:
        began = time.monotonic()
        for place, (number, sequence) in enumerate(events):
            early = began + place / per_second - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
            elif early < -LATE_SECONDS:
                raise TimeoutError(f"the producer can't keep {per_second} events/s here")
            await producer.send(topic, body(number, sequence, size), subscription_id(number).encode())
    finally:
        await producer.stop()
