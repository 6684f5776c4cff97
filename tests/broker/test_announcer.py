"""How soon a worker announces itself again after an error."""

import asyncio
from collections.abc import Callable

import pytest

from pipeline.cluster.announcement import Announcement
from pipeline.cluster.announcer import ANNOUNCE_SECONDS, LONGEST_PAUSE_SECONDS, Announcer
from pipeline.kafka.connection import KafkaConnection
from tests.support.brokers import TestBroker
from tests.support.free_ports import free_port

PAUSES = 6


class Pauses:
    """A clock that records the first pauses instead of waiting, and then cancels the task that waits."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == PAUSES:
            raise asyncio.CancelledError


def nothing() -> Announcement:
    raise AssertionError("nothing can be announced")


async def pauses_of(connection: KafkaConnection, topic: str) -> list[float]:
    clock = Pauses()
    announcer = Announcer(connection, topic, nothing, clock)
    with pytest.raises(asyncio.CancelledError):
        await announcer.run()
    return clock.seconds


async def test_a_worker_is_announced_soon_after_its_brokers_answer() -> None:
    """After ten seconds without an announcement, it would be shown as gone."""
    unavailable = KafkaConnection(bootstrap_servers=(f"127.0.0.1:{free_port()}",))
    assert await pauses_of(unavailable, "workers") == [ANNOUNCE_SECONDS] * PAUSES


async def test_a_missing_topic_is_looked_up_less_and_less_often(
    embedded: TestBroker, unique_name: Callable[[str], str]
) -> None:
    pauses = await pauses_of(embedded.connection, unique_name("workers"))
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
