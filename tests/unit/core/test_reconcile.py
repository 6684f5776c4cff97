"""Commands, edits, deletions and times of a subscription are each carried out once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pipeline.core.lane_state import LaneState
from pipeline.core.model import Status
from pipeline.core.outcome import Failed, Rejected
from pipeline.core.subscription import DesiredStatus, Qos, ReplayOffset, ReplayTimestamp, Skip, Subscription
from pipeline.core.waiting import Waiting, waiting_in
from tests.support.core import SLOW, Core, paused, resumed, subscription
from tests.support.fakes import MS_PER_OFFSET
from tests.support.virtual_time import in_virtual_time, settle

BROKEN = Failed("broken off", may_have_arrived=True)


@in_virtual_time
async def test_a_skip_skips_the_failed_event_and_continues() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(2)
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(replace(spec, resume_from=Skip(0, 0)))
    await core.read()

    assert core.pending == [1]
    assert core.telemetry.drops["skipped"] == core.telemetry.deliveries["skipped"] == 1
    await core.end()


@in_virtual_time
async def test_a_skip_of_a_later_event_changes_nothing() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(3)
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(replace(spec, resume_from=Skip(0, 1)))
    await core.read()

    assert core.pending == []
    assert (core.lane().status, core.lane().next) == (Status.FAILURE, 0), "the skip changes nothing"
    assert core.telemetry.drops["skipped"] == core.telemetry.deliveries["skipped"] == 0
    await core.end()


@in_virtual_time
async def test_a_skip_of_a_future_event_has_no_effect() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0)
    assert core.lane().next == 1
    await core.revise(replace(spec, resume_from=Skip(0, 1)))
    await core.land()
    await core.stream(1)
    await core.read()
    assert core.pending == [1]
    assert core.telemetry.drops["skipped"] == core.telemetry.deliveries["skipped"] == 0
    await core.end()


async def with_a_first_unread_event_behind_anothers(spec: Subscription) -> Core:
    """A lane that is paused at offset 1, an event of another subscription. The lane's own next events are 2 and 3."""
    core = await Core(spec, subscription("other")).open()
    await core.stream(1)
    await core.answer(0)
    await core.revise(paused(spec))
    await core.stream(1, "other")
    await core.stream(2)
    await core.land()
    assert (core.lane().next, waiting_in(core.lane()).at_most) == (1, 2)
    return core


@in_virtual_time
async def test_a_skip_of_another_subscription_s_event_changes_nothing() -> None:
    spec = subscription()
    core = await with_a_first_unread_event_behind_anothers(spec)
    await core.revise(replace(paused(spec), resume_from=Skip(0, 1)))
    await asyncio.sleep(1.1)  # meanwhile, the log is read to find the lane's next event
    await core.land()
    assert core.telemetry.drops["skipped"] == core.telemetry.deliveries["skipped"] == 0
    assert (core.lane().next, waiting_in(core.lane()).at_most) == (1, 2)
    await core.end()


@in_virtual_time
async def test_a_skip_ignores_earlier_events_of_other_subscriptions() -> None:
    spec = subscription()
    core = await with_a_first_unread_event_behind_anothers(spec)
    await core.revise(replace(paused(spec), resume_from=Skip(0, 2)))
    await asyncio.sleep(1.1)  # meanwhile, the log is read to find the lane's next event
    await core.land()
    assert core.telemetry.drops["skipped"] == core.telemetry.deliveries["skipped"] == 1
    await core.revise(resumed(spec))
    await core.read()
    assert core.pending[-1] == 3
    assert 2 not in core.send.offsets()
    await core.end()


@in_virtual_time
async def test_a_skip_of_the_lane_s_second_event_changes_nothing() -> None:
    spec = subscription()
    core = await with_a_first_unread_event_behind_anothers(spec)
    await core.revise(replace(paused(spec), resume_from=Skip(0, 3)))
    await asyncio.sleep(1.1)  # meanwhile, the log is read to find the lane's next event
    await core.land()
    assert core.telemetry.drops["skipped"] == core.telemetry.deliveries["skipped"] == 0
    assert core.lane().next == 1
    await core.end()


@in_virtual_time
async def test_an_event_whose_claim_is_being_written_is_not_skipped() -> None:
    spec = subscription(qos=Qos.AT_MOST_ONCE)
    core = await Core(spec).open()
    await core.stream(2)
    assert core.lane().next == 1
    await core.revise(replace(spec, resume_from=Skip(0, 1)))
    await core.land()

    assert core.pending == [0]
    await core.answer(0)
    await core.land()
    assert core.send.offsets() == [0]
    assert core.lane().next == 2
    await core.end()


@in_virtual_time
async def test_a_skip_lets_other_requests_in_flight_finish() -> None:
    spec = subscription(qos=Qos.AUTO)
    core = await Core(spec).open()
    await core.stream(3)
    await core.revise(replace(spec, resume_from=Skip(0, 0)))
    for offset in (0, 1, 2):
        await core.answer(offset)
    await core.land()
    await core.read()

    assert core.send.offsets() == [0, 1, 2]
    assert core.lane().next == 3
    await core.end()


@in_virtual_time
async def test_a_pause_stops_sending_and_a_resume_continues() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(3)
    await core.revise(paused(spec))
    await core.answer(0)
    await core.land()
    await core.stream(1)

    assert (core.lane().state.feed, core.lane().status, core.lane().next) == ("halted", Status.PAUSED, 1)
    assert core.committable == 4, "the row covers the events of the stream"
    assert core.pending == []
    await core.revise(resumed(spec))
    await core.read()
    assert core.pending == [1]
    await core.end()


@in_virtual_time
async def test_a_pause_ends_a_retry_wait_and_keeps_the_attempt_count() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0, BROKEN)
    await core.revise(paused(spec))
    await core.land()
    await asyncio.sleep(30.0)
    assert len(core.send.made) == 1

    await core.revise(resumed(spec))
    await core.read()
    assert core.send.made[-1].number == 2
    await core.end()


@in_virtual_time
async def test_a_pause_keeps_the_attempt_count_of_a_long_wait() -> None:
    """During a long wait, the event is only in the log."""
    spec = subscription(retry=SLOW)
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0, BROKEN)
    await core.land()
    assert core.lane().events.is_empty
    await core.revise(paused(spec))
    await core.land()

    await core.revise(resumed(spec))
    await core.read()
    assert core.send.made[-1].number == 2
    await core.end()


@in_virtual_time
async def test_the_end_of_a_failure_keeps_the_count_of_other_events() -> None:
    spec = subscription(qos=Qos.AUTO)
    core = await Core(spec).open()
    await core.stream(2)
    await core.answer(0, BROKEN)
    await core.answer(1, Rejected(400))
    await core.land()
    assert core.lane().status is Status.FAILURE

    await core.revise(resumed(spec))
    await core.read()
    assert [(attempt.offset, attempt.number) for attempt in core.send.pending] == [(0, 2), (1, 1)]
    await core.end()


@in_virtual_time
@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_resume_ends_a_long_wait_for_the_next_owner_too(*, is_paused: bool) -> None:
    """The row that the resume writes is durable before the lane reads the log again."""
    spec = subscription(retry=SLOW)
    former = await Core(spec).open()
    await former.stream(1)
    await former.answer(0, BROKEN)
    await former.land()
    if is_paused:
        await former.revise(paused(spec))
        await former.land()
    await former.revise(resumed(spec))
    await former.checkpoint()
    await former.land()
    former.commit()
    await former.end()

    core = await Core(before=former).open()
    await core.read()
    assert [attempt.number for attempt in core.send.made] == [2]
    await core.end()


@in_virtual_time
async def test_qos_none_keeps_its_queue_over_pause_and_resume() -> None:
    spec = subscription(qos=Qos.NONE, concurrency=1)
    core = await Core(spec).open()
    await core.stream(3)
    core.commit()
    assert core.committed == 3, "qos none settles events on arrival"
    await core.revise(paused(spec))
    await core.answer(0)
    await core.land()
    await core.revise(resumed(spec))
    await core.read()

    assert core.pending == [1]
    await core.end()


@in_virtual_time
async def test_more_concurrency_takes_effect_with_the_next_event() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(2)
    await core.revise(replace(spec, qos=Qos.AUTO, concurrency=3))
    await core.stream(1)

    assert sorted(core.pending) == [0, 1]
    await core.end()


@in_virtual_time
async def test_less_concurrency_lets_events_in_flight_end_first() -> None:
    spec = subscription(qos=Qos.AUTO)
    core = await Core(spec).open()
    await core.stream(4)
    await core.revise(replace(spec, qos=Qos.AT_LEAST_ONCE, concurrency=1))
    await core.answer(1)
    await core.answer(0)
    assert core.pending == [2]

    await core.answer(2)
    assert core.pending == [3]
    await core.end()


@in_virtual_time
async def test_a_deletion_counts_queued_events_and_removes_the_row() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.stream(5)
    await core.land()
    assert b"s" in core.row_topic.rows
    core.delete("s")
    core.hear()
    await core.land()

    assert core.row_topic.rows == {}
    assert core.telemetry.drops["unknown-subscription"] == 1, "only the event in flight; the others are not in memory"
    assert core.committable == 6
    await core.answer(0)  # the late answer no longer counts
    assert core.lane().is_idle
    await core.end()


@in_virtual_time
async def test_a_recreated_subscription_begins_with_later_events() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(2)
    core.delete("s")
    core.hear()
    await core.revise(spec)
    await core.stream(1)
    await core.answer(0)

    assert core.send.offsets() == [0, 2]
    await core.end()


@in_virtual_time
async def test_a_recreated_subscription_does_not_count_older_events() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(9)
    await core.land()
    assert waiting_in(core.lane()) == Waiting(9, is_exact=True)
    core.delete("s")
    core.hear()
    await core.revise(spec)
    await core.stream(5)
    assert core.lane().state is LaneState.BEHIND
    assert waiting_in(core.lane()) == Waiting(5, is_exact=True)
    await core.end()


@in_virtual_time
async def test_opening_removes_the_row_of_a_deleted_subscription() -> None:
    spec = subscription()
    first = await Core(spec).open()
    await first.stream(1)
    await first.revise(paused(spec))
    await first.land()
    first.delete("s")
    await first.end()

    core = await Core(before=first).open()
    await core.land()
    assert core.row_topic.rows == {}
    assert core.partition.lanes == {}
    await core.end()


@in_virtual_time
async def test_a_replay_is_carried_out_once_despite_crashes() -> None:
    spec = subscription()
    first = await Core(spec).open()
    await first.stream(3)
    for offset in range(3):
        await first.answer(offset)
    first.commit()
    await first.revise(replace(spec, resume_from=ReplayOffset(0, 1)))
    await first.end()  # killed before the row is durable

    second = await Core(before=first).open()
    await second.land()
    await second.read()
    assert second.pending == [1]
    await second.answer(1)
    await second.checkpoint()
    await second.land()
    await second.end()  # killed again

    third = await Core(before=second).open()
    await third.read()
    assert third.pending == [2]
    await third.answer(2)
    await third.checkpoint()
    await third.land()
    await third.checkpoint()
    assert third.row_topic.rows[b"s"].next == 3, "the row is kept, or the replay would be carried out again"
    await third.end()


@pytest.mark.parametrize("wanted", [ReplayOffset(0, 3), ReplayOffset(0, 9), ReplayTimestamp(3 * MS_PER_OFFSET)])
@in_virtual_time
async def test_without_discard_a_replay_skips_no_waiting_event(
    wanted: ReplayOffset | ReplayTimestamp, caplog: pytest.LogCaptureFixture
) -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(4)
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(replace(spec, resume_from=wanted))
    await asyncio.sleep(0.6)
    await core.land()
    await core.read()

    assert core.pending == [0], "the lane continues at its cursor"
    assert core.telemetry.drops["discarded"] == 0
    assert "stays at offset 0 of partition 0" in caplog.text
    await core.end()


@pytest.mark.parametrize(
    "wanted",
    [
        ReplayOffset(0, 5, discards=True),
        ReplayOffset(0, 99, discards=True),
        ReplayTimestamp(5 * MS_PER_OFFSET, discards=True),
    ],
)
@in_virtual_time
async def test_a_replay_with_discard_counts_and_logs_discarded_events(
    wanted: ReplayOffset | ReplayTimestamp, caplog: pytest.LogCaptureFixture
) -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.dispatch([*core.produce(2), *core.produce(3, "other")])
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(replace(spec, resume_from=wanted))
    await asyncio.sleep(2.1)
    await core.land()
    await core.stream(1)
    await core.read()

    assert [offset for offset in core.pending if offset not in {2, 3, 4}] == [5], "later events are delivered"
    assert core.telemetry.drops["discarded"] == 2
    assert "discards its events from offset 0 up to 5 of partition 0" in caplog.text
    assert "rule=discarded subscription=s topic=events partition=0 since=0 offset=4 count=2" in caplog.text
    assert core.lane().events.progress.revision == core.registry.known["s"].revision
    await core.end()


@in_virtual_time
async def test_a_discard_counts_offsets_if_events_can_t_be_counted() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(3)
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(replace(spec, resume_from=ReplayOffset(0, 3, discards=True)))
    await asyncio.sleep(0.6)  # from here on the end is known, but not the number of events
    await core.end()
    assert core.telemetry.drops["discarded"] == 3


@in_virtual_time
async def test_a_skip_in_another_partition_does_not_end_a_failure() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0, Rejected(400))
    await core.land()
    await core.revise(replace(spec, resume_from=Skip(1, 0)))
    assert core.lane().status is Status.FAILURE
    await core.end()


@in_virtual_time
async def test_only_a_new_revision_clears_a_failure() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0, Rejected(400))
    known = core.registry.get("s")
    core.dispatcher.on_subscription("s", known)
    assert core.lane().status is Status.FAILURE

    await core.revise(replace(spec, url="https://receiver.example/mended"))
    assert core.lane().status is Status.STARTED
    await core.end()


@in_virtual_time
async def test_a_broken_record_is_a_failure_until_it_is_corrected() -> None:
    spec = subscription()
    core = await Core(replace(spec, problem="callbackUrl: missing")).open()
    await core.stream(1)
    await core.land()
    cause = core.lane().cause
    assert cause is not None
    assert (cause.kind, cause.message) == ("configuration", "callbackUrl: missing")
    assert +core.telemetry.subscription_failures == {"configuration": 1}
    assert core.send.made == []

    await core.revise(spec)
    await core.read()
    assert core.pending == [0]
    await core.end()


@in_virtual_time
async def test_startingat_and_endingat_are_obeyed() -> None:
    now = asyncio.get_running_loop().time()
    core = await Core(subscription(starting_at=now + 10.0, ending_at=now + 20.0)).open()
    await core.stream(1)
    await core.land()
    assert core.lane().status is Status.PAUSED

    await asyncio.sleep(10.0)
    await core.checkpoint()
    await core.read()
    assert core.pending == [0]
    await asyncio.sleep(10.0)
    await core.checkpoint()
    assert core.lane().status is Status.CLOSED
    await core.end()


@in_virtual_time
async def test_a_consumer_s_stop_and_a_publisher_s_pause_differ() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.revise(replace(spec, desired_status=DesiredStatus.STOPPED))
    assert core.lane().status is Status.STOPPED
    await core.revise(paused(spec))
    assert core.lane().status is Status.PAUSED
    await core.land()
    assert core.row_topic.rows[b"s"].status is Status.PAUSED
    await settle()
    await core.end()


@in_virtual_time
async def test_applying_a_pause_on_opening_moves_no_cursor_back() -> None:
    spec = subscription(qos=Qos.AT_MOST_ONCE)
    first = await Core(spec).open()
    await first.stream(1)
    await first.land()
    assert first.pending == [0]
    await first.end()  # killed: sent, and never committed
    first.publish(paused(spec))

    core = await Core(before=first).open()
    await core.land()
    await core.revise(resumed(spec))
    await core.dispatch(core.log.read(0, 100))
    await core.read()
    await core.land()
    assert core.send.made == []
    await core.end()


@in_virtual_time
async def test_an_edit_to_an_ordered_level_lets_open_requests_finish() -> None:
    spec = subscription(qos=Qos.AUTO)
    core = await Core(spec).open()
    await core.stream(2)
    await core.answer(1, BROKEN)
    await core.revise(replace(spec, qos=Qos.AT_MOST_ONCE, concurrency=1))
    await core.land()
    await core.read()
    assert core.send.offsets() == [0, 1]
    assert core.pending == [0]

    await core.answer(0)
    await core.land()
    assert core.pending == [1]
    assert core.send.made[-1].number == 2
    assert core.row_topic.rows[b"s"].next == 2
    await core.end()


@in_virtual_time
async def test_a_replay_by_time_works_without_a_lane_and_a_row() -> None:
    """A replay from a time applies to all partitions: if the topic was expanded, the events of a key may be in two of
    them."""
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.answer(0)
    core.commit()
    core.partition.sweep()
    assert core.partition.lanes == {}

    await core.revise(replace(spec, resume_from=ReplayTimestamp(0)))
    await asyncio.sleep(1.0)
    await core.land()
    await core.read()
    assert core.pending == [0]
    await core.end()


@in_virtual_time
async def test_a_replay_by_time_repeats_nothing_in_a_new_partition() -> None:
    core = Core(subscription())
    core.publish(replace(subscription(), resume_from=ReplayTimestamp(0)))
    batch = core.produce(3)
    await core.open()
    await core.dispatch(batch)
    await core.answer(0)
    await asyncio.sleep(1.0)
    await core.land()
    await core.answer(1)
    await core.answer(2)

    assert core.send.offsets() == [0, 1, 2]
    assert core.lane().events.progress.revision == 1
    await core.end()


@in_virtual_time
async def test_a_replay_by_time_is_recorded_even_if_it_moves_nothing() -> None:
    core = Core(subscription())
    core.publish(replace(subscription(), resume_from=ReplayTimestamp(0)))
    batch = core.produce(2)
    await core.open()
    await asyncio.sleep(1.0)
    await core.land()
    await core.dispatch(batch)
    await core.answer(0)
    await core.answer(1)
    await core.stop()
    assert core.committed == 2

    successor = await Core(before=core).open()
    await asyncio.sleep(1.0)
    successor.rows.store()
    await successor.read()
    assert successor.send.offsets() == []
    await successor.end()


@in_virtual_time
async def test_a_replay_from_a_future_time_skips_no_events() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.revise(replace(spec, resume_from=ReplayTimestamp(10 * MS_PER_OFFSET)))
    await core.stream(2)
    await asyncio.sleep(0.6)
    await core.land()
    await core.answer(0)
    await core.answer(1)

    assert core.send.offsets() == [0, 1]
    await core.end()


FIRST = ReplayOffset(0, 0)
SINCE = ReplayTimestamp(0)


def edited(spec: Subscription, *given: Subscription, **changes: Any) -> Subscription:
    """*spec* after an edit that repeats the commands of *given*, the revisions before it."""
    return replace(spec, earlier=tuple(each for before in given for each in before.commands), **changes)


@pytest.mark.parametrize("wanted", [FIRST, SINCE])
@in_virtual_time
async def test_an_edit_keeps_a_replay_given_while_no_worker_ran(wanted: ReplayOffset | ReplayTimestamp) -> None:
    spec = subscription()
    first = await Core(spec).open()
    await first.stream(2)
    await first.answer(0)
    await first.answer(1)
    await first.stop()
    replay = first.publish(replace(spec, resume_from=wanted))
    first.publish(edited(spec, replay))

    second = await Core(before=first).open()
    await asyncio.sleep(1.0)
    await second.land()
    await second.read()
    assert second.pending == [0]
    await second.answer(0)
    await second.answer(1)
    await second.stop()

    third = await Core(before=second).open()
    await asyncio.sleep(1.0)
    third.rows.store()
    await third.read()
    assert third.send.offsets() == [], "it was carried out once"
    await third.end()


@in_virtual_time
async def test_an_edit_keeps_a_replay_by_time_during_its_search() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(2)
    await core.answer(0)
    await core.answer(1)
    replay = core.publish(replace(spec, resume_from=SINCE))
    core.hear()
    await core.revise(edited(spec, replay, desired_status=DesiredStatus.PAUSED))
    assert core.lane().status is Status.PAUSED, "the pause does not wait for the replay"
    resumed = await core.revise(edited(spec, replay))
    await asyncio.sleep(1.0)
    await core.land()
    await core.read()

    assert core.pending == [0]
    assert core.lane().events.progress.revision == resumed.revision
    await core.end()


@in_virtual_time
async def test_several_commands_are_carried_out_in_their_order() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(4)
    await core.answer(0, Rejected(400))
    await core.land()
    skip = core.publish(replace(spec, resume_from=Skip(0, 0)))
    discard = core.publish(edited(spec, skip, resume_from=ReplayOffset(0, 3, discards=True)))
    await core.revise(edited(spec, skip, discard, resume_from=ReplayOffset(0, 2)))
    await asyncio.sleep(2.0)
    await core.land()
    await core.read()

    assert core.pending == [2]
    assert (core.telemetry.drops["skipped"], core.telemetry.drops["discarded"]) == (1, 2)
    await core.end()
