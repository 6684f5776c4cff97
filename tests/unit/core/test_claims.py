"""At-most-once with several events claimed by one row: claims of events that were not sent are always handed back."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.core.model import Event, Status
from pipeline.core.outcome import Failed
from pipeline.core.ports import LaneLimits
from pipeline.core.subscription import Qos
from tests.support.core import QUICK, Core, paused, subscription
from tests.support.virtual_time import in_virtual_time, settle

AT_MOST_ONCE = subscription(qos=Qos.AT_MOST_ONCE)
NOT_SENT = Failed("connection refused", may_have_arrived=False)
THREE = LaneLimits(events=10, bytes=1_000_000, hold_seconds=5.0, claim_events=3)


async def claimed(events: int = 5) -> Core:
    """A worker that has claimed three of five events, and has sent the first of them."""
    core = await Core(AT_MOST_ONCE, limits=THREE).open()
    await core.stream(events)
    await core.land()
    assert core.row_topic.rows[b"s"].next == min(3, events)
    assert core.pending == [0]
    return core


async def stopped(core: Core) -> None:
    stopping = asyncio.create_task(core.stop())
    await settle()
    for attempt in list(core.send.pending):
        await core.answer(attempt.offset)
    await core.land()
    await stopping


@in_virtual_time
async def test_events_of_one_claim_need_no_further_row() -> None:
    core = await claimed()
    await core.answer(0)
    assert core.pending == [1]
    await core.answer(1)
    assert core.pending == [2]
    await core.answer(2)
    assert core.pending == [], "the fourth event has to be claimed first"
    await core.land()
    assert core.pending == [3]
    assert core.row_topic.rows[b"s"].next == 5
    await core.end()


@in_virtual_time
async def test_no_commit_passes_a_claimed_event_that_is_not_sent() -> None:
    core = await claimed()
    assert core.committable == 1
    await core.answer(0)
    assert core.committable == 2
    await core.end()


@in_virtual_time
async def test_a_crash_loses_claimed_events_and_repeats_none() -> None:
    core = await claimed()
    following = await Core(before=core, limits=THREE).open()
    await following.dispatch(following.log.read(following.committed, 10))
    await following.land()
    assert following.pending == [3]
    await following.end()
    await core.end()


@in_virtual_time
async def test_a_clean_stop_hands_back_unsent_events() -> None:
    core = await claimed()
    await stopped(core)
    assert core.row_topic.rows[b"s"].next == 1
    assert core.telemetry.drops["given-up"] == 0


@in_virtual_time
async def test_a_stop_hands_back_an_event_that_waits_for_a_slot() -> None:
    core = await Core(AT_MOST_ONCE, subscription("other"), limits=THREE, slots=1).open()
    await core.stream(3)
    await core.land()
    await core.stream(1, "other")
    await core.answer(0)
    assert [attempt.subscription.id for attempt in core.send.pending] == ["other"], "the second event waits for a slot"

    stopping = asyncio.create_task(core.stop())
    await asyncio.sleep(9.0)
    await core.land()
    await stopping

    assert core.row_topic.rows[b"s"].next == 1
    assert core.telemetry.drops["given-up"] == 0


@in_virtual_time
async def test_a_pause_hands_back_unsent_events() -> None:
    core = await claimed()
    await core.revise(paused(AT_MOST_ONCE))
    await core.land()
    assert core.row_topic.rows[b"s"].next == 1
    await core.end()


@in_virtual_time
async def test_an_unsent_event_and_those_after_it_are_handed_back() -> None:
    core = await claimed()
    await core.answer(0, NOT_SENT)
    await core.checkpoint()
    await core.land()
    assert core.row_topic.rows[b"s"].next == 0

    await asyncio.sleep(1.0)
    await core.land()
    assert (core.row_topic.rows[b"s"].next, core.pending) == (3, [0])
    await core.end()


@in_virtual_time
async def test_a_failure_keeps_the_later_events_of_its_claim() -> None:
    core = await Core(replace(AT_MOST_ONCE, retry=replace(QUICK, enabled=False)), limits=THREE).open()
    await core.stream(5)
    await core.land()
    await core.answer(0, Failed("broken off", may_have_arrived=True))
    await core.land()
    assert core.lane().status is Status.FAILURE
    assert core.row_topic.rows[b"s"].next == 1
    await core.end()


@pytest.mark.parametrize("qos", [Qos.AT_LEAST_ONCE, Qos.AUTO])
@in_virtual_time
async def test_a_claim_ends_with_an_edit_of_the_level(qos: Qos) -> None:
    core = await claimed()
    await core.revise(replace(AT_MOST_ONCE, qos=qos))
    await core.checkpoint()
    await core.land()
    assert core.row_topic.rows[b"s"].next == 1
    await core.end()


@in_virtual_time
async def test_claimed_events_that_the_next_owner_skips_are_counted() -> None:
    core = await claimed()
    following = await Core(before=core, limits=THREE).open()
    await stopped(core)
    assert core.telemetry.drops["given-up"] == 2
    await following.end()


@in_virtual_time
async def test_an_error_before_the_request_keeps_the_claimed_event() -> None:
    def broken(event: Event) -> bool:
        if event.offset == 2:
            raise ZeroDivisionError
        return True

    core = await Core(replace(AT_MOST_ONCE, filter=broken), limits=THREE).open()
    await core.stream(3)
    await core.land()
    await core.answer(0)
    await core.answer(1)
    await core.land()

    assert core.lane().status is Status.FAILURE
    assert core.row_topic.rows[b"s"].next == 2
    await core.end()


@in_virtual_time
async def test_an_edit_to_at_most_once_claims_no_event_in_flight() -> None:
    core = await Core(subscription(qos=Qos.AUTO, concurrency=2), limits=THREE).open()
    await core.stream(4)
    await core.revise(AT_MOST_ONCE)
    await core.answer(0, NOT_SENT)
    await asyncio.sleep(1.0)
    await core.land()
    assert core.pending == [1, 0]
    await core.answer(0)
    assert core.row_topic.rows[b"s"].next == 1

    await core.answer(1, NOT_SENT)
    await asyncio.sleep(1.0)
    assert core.pending == [], "its row is not durable yet"
    await core.land()
    assert core.pending == [1]
    assert core.row_topic.rows[b"s"].next == 4
    await core.end()


@in_virtual_time
async def test_an_event_handed_back_and_then_filtered_is_not_lost() -> None:
    wants = replace(AT_MOST_ONCE, filter=lambda event: event.offset != 1)
    core = await Core(wants, limits=THREE).open()
    await core.stream(3)
    await core.land()
    await core.answer(0, NOT_SENT)
    await asyncio.sleep(1.0)
    await core.land()
    for offset in (0, 2):
        await core.answer(offset)
    await core.checkpoint()
    await core.land()
    await stopped(core)
    assert core.telemetry.drops["given-up"] == 0
