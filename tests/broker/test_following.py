"""Readers of whole topics, after somebody has set the system clock: kafka/tail.py, kafka/follower.py."""

import time

import pytest

from pipeline.core.clock import SystemClock, steady_now
from pipeline.kafka import tail
from pipeline.kafka.follower import SILENT_SECONDS, Follower
from pipeline.kafka.tail import Tail
from tests.support.brokers import TestBroker
from tests.support.waiting import eventually


async def test_a_tail_notices_a_silent_broker_after_a_clock_jump(
    embedded: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embedded.mock is not None
    monkeypatch.setattr(tail, "LOOK_SECONDS", 0.0)
    reader = Tail(embedded.connection, await embedded.create_topic("rows"), lambda _: None, SystemClock())
    await reader.start()
    try:
        await reader.ready()
        monkeypatch.setattr(time, "time", lambda: 0.0)
        embedded.mock.down()

        async def has_noticed() -> bool:
            return reader.last_error is not None

        await eventually(has_noticed, within_seconds=60.0, says=lambda: "the tail seems to work")
    finally:
        await reader.stop()


async def test_a_clock_jump_does_not_make_a_broker_seem_silent(
    embedded: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(embedded.connection, await embedded.create_topic("rows"), lambda _: None)
    await follower.start()
    try:

        async def is_current() -> bool:
            return follower.is_current

        await eventually(is_current, within_seconds=60.0, says=lambda: str(follower.problem))
        later = time.time() + 2 * SILENT_SECONDS
        monkeypatch.setattr(time, "time", lambda: later)
        assert follower.silence is None
        now = steady_now() + 2 * SILENT_SECONDS
        monkeypatch.setattr("pipeline.kafka.follower.steady_now", lambda: now)
        assert follower.silence is not None
    finally:
        await follower.stop()
