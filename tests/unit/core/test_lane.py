"""Lanes in a real partition with real window, dispatcher and policy: one test per transition and per edge case."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.core.lane_rows import CHECKPOINT_EVENTS
from pipeline.core.model import Status
from pipeline.core.outcome import Failed, Rejected, ServerError
from pipeline.core.ports import LaneLimits
from pipeline.core.subscription import DesiredStatus, Qos, ReplayOffset, ReplayTimestamp
from tests.support.core import QUICK, SLOW, Core, paused, resumed, subscription
from tests.support.virtual_time import in_virtual_time, settle

BROKEN = Failed("broken off", may_have_arrived=True)


# ------------------------------------------------------------------- transitions


@in_virtual_time
async def test_the_window_holds_offsets_until_the_row_is_durable() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    await core.stream(5)
    lane = core.lane()
    assert (lane.state.feed, lane.next, len(lane.events.queue), len(lane.events.held)) == ("behind", 0, 0, 6)
    assert core.dispatcher.memory.used == 0
    await core.stream(1)  # arrives while the row is being written
    assert core.committable == 0
    await core.land()

    assert core.committable == 7
    assert core.row_topic.rows[b"s"].next == 0
    await core.stream(1)  # the row keeps this event, so the window settles it at once
    assert core.committable == 8
    assert core.pending == [0], "requests under way continue"
    await core.end()


@in_virtual_time
async def test_a_lane_that_returns_to_live_skips_and_repeats_no_event() -> None:
    core = await Core(subscription(), limits=LaneLimits(events=2, bytes=1_000_000, hold_seconds=5.0)).open()
    await core.stream(4)
    await core.land()
    for offset in range(12):
        await core.read(3)
        if offset < 8:
            await core.stream(1)
        assert core.pending == [offset]
        await core.answer(offset)

    assert core.send.offsets() == list(range(12))
    assert core.lane().state.feed == "live"
    assert core.telemetry.drops["lane-full"] == 0
    await core.end()


@in_virtual_time
async def test_a_lane_that_is_behind_reads_at_most_a_full_queue() -> None:
    core = await Core(subscription()).open()
    await core.stream(9)
    await core.land()
    for _ in range(5):
        await core.read()
        assert len(core.lane().events.queue) <= 4

    assert core.lane().state.feed == "behind"
    assert core.pending == [0]
    await core.end()


@in_virtual_time
async def test_the_log_reader_stops_where_the_stream_was_dispatched() -> None:
    core = await Core(subscription()).open()
    await core.stream(6)
    await core.land()
    late = core.produce(2)
    for offset in range(6):
        await core.read()
        await core.answer(offset)
    assert core.lane().state.feed == "live"
    assert core.pending == []
    await core.dispatch(late)
    await core.answer(6)

    assert core.send.offsets() == list(range(8))
    await core.end()


@in_virtual_time
async def test_the_position_in_a_row_never_moves_back() -> None:
    core = await Core(subscription()).open()
    await core.stream(9)
    await core.land()
    await core.read()
    for offset in range(2):
        await core.answer(offset)
    await core.checkpoint()
    await core.land()
    assert core.row_topic.rows[b"s"].next == 2

    for offset in range(2, 9):
        await core.read()
        await core.answer(offset)
        await core.checkpoint()
        await core.land()
    places = [row.next for _, row in core.row_topic.history if row is not None]
    assert places == sorted(places)
    await core.end()


@in_virtual_time
async def test_the_row_of_a_live_lane_is_deleted_after_its_commit() -> None:
    core = await Core(subscription()).open()
    await core.stream(6)
    await core.land()
    for offset in range(6):
        await core.read()
        await core.answer(offset)
    await core.checkpoint()
    await core.land()
    assert b"s" in core.row_topic.rows, "nothing is committed yet"
    core.commit()
    await core.checkpoint()
    await core.land()

    assert core.row_topic.rows == {}
    assert core.lane().events.progress.row is None
    await core.end()


# ------------------------------------------------------------------- edge cases


@in_virtual_time
async def test_a_full_lane_at_qos_none_drops_the_newest_event() -> None:
    core = await Core(
        subscription(qos=Qos.NONE, concurrency=1), limits=LaneLimits(events=100, bytes=2_000, hold_seconds=5.0)
    ).open()

    await core.stream(8)

    assert core.lane().state.feed == "live"
    assert core.telemetry.drops["lane-full"] == 4
    assert core.committable == 8
    await core.end()


@in_virtual_time
async def test_a_resume_sends_no_event_that_is_still_in_flight_again() -> None:
    spec = subscription(qos=Qos.AUTO)
    core = await Core(spec).open()
    await core.stream(3)
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(resumed(spec))
    await core.read()

    assert sorted(core.pending) == [0, 1, 2]
    for offset in (1, 2, 0):
        await core.answer(offset)
    assert core.lane().status is Status.STARTED
    assert core.lane().events.in_flight == {}
    assert core.lane().next == 3
    await core.end()


@in_virtual_time
async def test_no_event_is_sent_if_the_new_subscription_is_paused() -> None:
    core = await Core().open()
    core.publish(paused(subscription()))
    await core.stream(1)  # the event arrives before the worker has read the subscription
    core.hear()
    await settle()

    assert core.send.made == []
    assert core.lane().status is Status.PAUSED
    assert core.lane().next == 0
    await core.end()


@in_virtual_time
async def test_a_repeated_deletion_does_not_affect_an_event_in_flight() -> None:
    core = await Core().open()
    core.delete("s")
    await core.stream(1)
    core.hear()
    await settle()

    assert core.lane().cause is None
    assert core.lane().is_idle
    assert core.committable == 1
    await core.end()


@in_virtual_time
async def test_a_dead_letter_refused_after_a_replay_stops_no_lane() -> None:
    spec = subscription()
    core = await Core(spec, dead_letters=True).open()
    await core.stream(2)
    await core.answer(0, Rejected(400))
    await core.revise(replace(spec, resume_from=ReplayOffset(0, 1, discards=True)))
    await asyncio.sleep(0.6)
    core.letters.answer(0, is_taken=False)
    await settle()
    await core.land()
    await core.read()

    assert core.lane().status is Status.STARTED
    assert core.pending == [1]
    await core.end()


@in_virtual_time
async def test_the_late_row_of_a_deleted_lane_settles_no_newer_event() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(6)  # over the bound: the row is being written
    core.delete("s")
    core.hear()
    await core.revise(spec)
    await core.stream(1)
    await core.land()

    assert core.committable == 6
    await core.end()


@in_virtual_time
async def test_the_row_of_an_earlier_pause_settles_no_newer_event() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0)
    await core.revise(paused(spec))
    await core.land()
    core.commit()
    # A second row is being written while the lane continues, and is deleted before it is durable.
    await core.revise(replace(spec, desired_status=DesiredStatus.STOPPED))
    await core.revise(resumed(spec))
    await core.stream(1)
    core.commit()
    await core.checkpoint()
    await core.land()

    assert core.row_topic.rows == {} or core.row_topic.rows[b"s"].next <= 1
    assert core.committable == 1 or b"s" in core.row_topic.rows
    await core.end()


@in_virtual_time
async def test_a_claim_that_is_not_durable_at_a_stop_is_handed_back() -> None:
    core = await Core(subscription(qos=Qos.AT_MOST_ONCE)).open()
    await core.stream(1)  # the row of its claim is never confirmed
    drain = asyncio.create_task(core.dispatcher.drain([0], 8.0))
    await asyncio.sleep(9.0)
    await core.land()
    await drain

    assert core.send.made == []
    assert core.row_topic.rows[b"s"].next == 0
    await core.end()


@in_virtual_time
async def test_an_attempt_cancelled_by_a_stop_counts() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    drain = asyncio.create_task(core.dispatcher.drain([0], 8.0))
    await asyncio.sleep(9.0)
    await core.land()
    await drain

    row = core.row_topic.rows[b"s"]
    assert (row.next, row.attempt) == (0, 1)
    await core.end()


@in_virtual_time
async def test_a_failure_keeps_an_unsent_claimed_event() -> None:
    spec = subscription(qos=Qos.AT_MOST_ONCE, retry=replace(QUICK, enabled=False))
    core = await Core(spec, subscription("other", qos=Qos.NONE)).open()
    paused_spec = await core.revise(paused(spec))
    await core.stream(1)
    await core.stream(2 * CHECKPOINT_EVENTS, "other")
    await core.revise(resumed(paused_spec))
    await core.read(1)
    await core.land()
    assert 0 in core.pending

    await core.read(CHECKPOINT_EVENTS + 10)
    await core.answer(0, Failed("connection refused", may_have_arrived=False))
    await core.land()

    assert core.lane().status is Status.FAILURE
    assert core.row_topic.rows[b"s"].next == 0
    await core.end()


@in_virtual_time
async def test_an_idle_lane_s_row_with_a_command_follows_commits() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0)
    await core.revise(replace(spec, resume_from=ReplayOffset(0, 1)))
    await core.land()
    await core.checkpoint()
    await core.land()
    await core.stream(1)
    await core.answer(1)
    core.commit()
    await core.checkpoint()
    await core.land()

    assert core.row_topic.rows[b"s"].next == 2
    await core.end()


@in_virtual_time
async def test_a_command_that_ends_a_failure_writes_one_row() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(2)
    await core.answer(0, Rejected(400))
    await core.land()
    revision = await core.revise(replace(spec, resume_from=ReplayOffset(0, 1, discards=True)))
    await asyncio.sleep(0.6)
    await core.land()  # no checkpoint in between: the worker is killed here

    row = core.row_topic.rows[b"s"]
    assert (row.revision, row.next, row.status, row.cause) == (revision.revision, 1, Status.STARTED, None)
    await core.end()


@in_virtual_time
async def test_a_replay_by_time_survives_a_restart_and_runs_once() -> None:
    spec = subscription()
    first = await Core(spec).open()
    await first.stream(3)
    for offset in range(3):
        await first.answer(offset)
    await first.revise(paused(spec))
    await first.land()
    first.commit()
    first.publish(replace(spec, resume_from=ReplayTimestamp(0)))
    await first.end()

    core = await Core(before=first).open()
    moves = 0
    lane, move = core.lane(), core.lane().move

    def counted(offset: int) -> None:
        nonlocal moves
        moves += 1
        move(offset)

    lane.move = counted  # type: ignore[method-assign] # counts how often it is moved
    await asyncio.sleep(2.0)

    assert moves == 1
    await core.end()


@in_virtual_time
async def test_a_clean_stop_keeps_the_wait_for_the_next_attempt() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    await core.answer(0, BROKEN)
    due = core.lane().events.in_flight[0].not_before
    drain = asyncio.create_task(core.stop())
    await settle()
    await core.land()
    await drain

    row = core.row_topic.rows[b"s"]
    assert (row.attempt, row.not_before) == (1, due)


@in_virtual_time
async def test_an_attempt_that_fails_during_a_stop_waits_for_no_retry() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    drain = asyncio.create_task(core.stop())
    await settle()
    began = asyncio.get_running_loop().time()
    await core.answer(0, BROKEN)
    await core.land()
    await drain

    assert asyncio.get_running_loop().time() == began
    assert core.row_topic.rows[b"s"].attempt == 1


@in_virtual_time
async def test_a_lane_uses_the_newest_revision_once_it_has_a_slot() -> None:
    spec = subscription()
    core = await Core(spec, subscription("t"), slots=2).open()
    await core.stream(1, "t")
    await core.slots.acquire(suspect=False)
    await core.stream(1)
    await core.revise(replace(spec, qos=Qos.AT_MOST_ONCE))
    await core.answer(0)  # the end of this request gives its slot to the lane of s
    assert core.send.offsets() == [0], "its claim has to be durable first"
    await core.land()

    assert core.send.made[-1].subscription.qos is Qos.AT_MOST_ONCE
    core.slots.release(suspect=False)
    await core.end()


@in_virtual_time
async def test_a_resume_sends_an_event_whose_delivery_hit_a_bug() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    core.send.pending[0].answered.set_exception(KeyError("planted"))
    await settle()
    assert core.lane().status is Status.FAILURE
    await core.land()
    await core.revise(resumed(spec))
    await core.read()

    assert core.pending == [0]
    await core.end()


@in_virtual_time
async def test_an_unknown_event_with_a_refused_dead_letter_is_dropped() -> None:
    core = await Core(dead_letters=True).open()
    await core.stream(2)
    core.letters.answer(0, is_taken=False)
    await settle()

    assert core.telemetry.drops["unknown-subscription"] == 1
    assert core.lane().state.feed == "live"
    assert len(core.letters.pending) == 1
    await core.end()


@in_virtual_time
async def test_closing_before_a_runner_begins_leaves_no_coroutine() -> None:
    core = await Core(subscription()).open()
    core.dispatcher.dispatch(0, core.produce(1))
    await core.partition.close()
    await settle()

    assert core.send.made == []


@pytest.mark.parametrize("qos", [Qos.AT_LEAST_ONCE, Qos.AUTO])
@in_virtual_time
async def test_a_lane_with_a_long_retry_wait_releases_its_offsets(qos: Qos) -> None:
    core = await Core(subscription(qos=qos, retry=SLOW, concurrency=1)).open()
    await core.stream(3)
    await core.answer(0, ServerError(503))
    await core.land()

    lane = core.lane()
    assert (lane.state.feed, lane.next, lane.events.is_empty) == ("behind", 0, True)
    assert core.committable == 3
    assert core.row_topic.rows[b"s"].attempt == 1
    assert core.pending == []
    await asyncio.sleep(20.1)
    await core.read()
    assert core.send.made[-1].number == 2
    await core.end()
