"""Whether a worker is live: judged by the real state of its partitions (web/health.py)."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.web.health import STALLED_AFTER_SECONDS, not_live_reasons
from tests.support.core import LIMITS, Core, reporter_of, subscription
from tests.support.fakes import VirtualClock
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_partition_stalls_when_events_are_held_for_too_long() -> None:
    core = await Core(subscription(), limits=replace(LIMITS, hold_seconds=120.0)).open()
    reporter = reporter_of(core)
    await core.stream(1)
    await asyncio.sleep(120.0 + STALLED_AFTER_SECONDS)
    assert not_live_reasons(reporter.worker()) == []

    await asyncio.sleep(1.0)
    assert not_live_reasons(reporter.worker()) == ["partition 0 of events has work and has made no progress for 181 s"]
    await core.end()


@in_virtual_time
@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
async def test_a_jump_of_the_system_clock_does_not_change_liveness(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    core = await Core(subscription()).open()
    reporter = reporter_of(core)
    await core.stream(1)
    await asyncio.sleep(30.0)
    unchanged = VirtualClock.now
    monkeypatch.setattr(VirtualClock, "now", lambda clock: unchanged(clock) + jump)
    assert not_live_reasons(reporter.worker()) == []

    await asyncio.sleep(LIMITS.hold_seconds + STALLED_AFTER_SECONDS)
    assert len(not_live_reasons(reporter.worker())) == 1
    await core.end()
