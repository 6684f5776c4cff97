"""The events of the benchmarks: whose they are, their place in the order and when they were produced is in the body.

b"17 204 1760000000.123456      "     subscription 17, its 204th event, Unix seconds, blanks up to the size
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
"""A producer that is further behind its own timetable did not offer the load it was asked for."""


def subscription_id(number: int) -> str:
    """The id of the subscription *number*; it is the key of its events too."""
    return f"sub-{number}"


def body(number: int, sequence: int, size: int) -> bytes:
    """The body of an event that is produced now: *size* bytes, if that is enough for what stands in it."""
    return (b"%d %d %.6f " % (number, sequence, time.time())).ljust(size)


def in_turn(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(subscription, sequence from 1) for ever: each of *numbers* in turn, so that all get equally much."""
    turns = list(numbers)
    return ((number, 1 + place // len(turns)) for place, number in zip(count(), cycle(turns), strict=False))


def no_type(_number: int, _sequence: int) -> bytes | None:
    """The type of events that have none."""


async def fill(
    broker: TestBroker,
    topic: str,
    events: Iterable[tuple[int, int]],
    size: int,
    type_of: Callable[[int, int], bytes | None] = no_type,
) -> None:
    """Append (subscription, sequence) events of *size* bytes; returns when the broker has them all.

    Args:
        broker: it.
        topic: theirs.
        events: them.
        size: of each.
        type_of: their types as CloudEvents, if they have any.
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
    """Append (subscription, sequence) events one by one at a steady rate, each sent at once; until *events* ends.

    Raises:
        TimeoutError: this machine can't keep the rate.
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
