"""Events that match several subscriptions, and where a subscription begins. tests/simulation has more schedules."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.core.log_bounds import LARGEST_OFFSET
from pipeline.core.model import Event, Status
from pipeline.core.outcome import Rejected
from pipeline.core.subscription import Qos, Start, Subscription
from tests.support.core import OK, Core, resumed, subscription
from tests.support.fakes import ANY_LOG, TOPIC
from tests.support.virtual_time import in_virtual_time, settle


def wants(letter: str) -> Callable[[Event], bool]:
    return lambda event: letter in (event.key or b"").decode()


def begun(core: Core, name: str, start: int, **changes: object) -> Subscription:
    """A subscription that begins at *start*. Its filter matches events whose keys contain its name."""
    made = subscription(name, starts={TOPIC: Start((start,))}, created=len(core.registry.changes), filter=wants(name))
    return replace(made, **changes)  # type: ignore[arg-type]  # as `subscription` has it


@in_virtual_time
async def test_an_event_is_settled_once_all_its_lanes_have_settled_it() -> None:
    core = Core(matches=True)
    for name in "ab":
        core.publish(begun(core, name, 0))
    await core.open()
    await core.dispatch([*core.produce(1, "ab"), *core.produce(1, "b"), *core.produce(1, "c")])
    assert sorted((each.subscription.id, each.offset) for each in core.send.pending) == [("a", 0), ("b", 0)]
    assert core.telemetry.deliveries["unmatched"] == 1

    [at_a] = [each for each in core.send.pending if each.subscription.id == "a"]
    at_a.answer(Rejected(400))
    await settle()
    [at_b] = core.send.pending
    assert core.committable == 0
    await core.answer(0)
    assert core.committable == 0, "subscription a has stopped, but its row is not durable"
    await core.land()
    assert core.committable == 1
    assert at_b.subscription.id == "b"
    await core.end()


@in_virtual_time
async def test_a_lane_that_is_behind_reads_only_events_of_its_filter() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "a", 0))
    core.publish(begun(core, "b", 0))
    await core.open()
    await core.dispatch([*core.produce(3, "ab"), *core.produce(1, "b"), *core.produce(3, "a")])
    assert core.lane("a").state.feed == "behind", "the lane holds more than its limit"
    await core.land()
    for _ in range(12):
        await core.read()
        for attempt in list(core.send.pending):
            attempt.answer(OK)
        await settle()
    sent = [each.offset for each in core.send.made if each.subscription.id == "a"]
    assert sent == [0, 1, 2, 4, 5, 6]
    await core.end()


@in_virtual_time
async def test_a_subscription_gets_nothing_from_before_its_start() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "a", 2))
    await core.open()
    await core.stream(4, "a")
    for offset in (2, 3):
        await core.answer(offset)
    assert core.send.offsets() == [2, 3]
    await core.end()


@in_virtual_time
async def test_a_subscription_read_after_its_start_begins_behind() -> None:
    core = await Core(matches=True).open()
    await core.stream(2, "a")
    core.publish(begun(core, "a", 1))
    await core.stream(2, "a")
    core.hear()
    await settle()
    assert core.send.pending == []
    await core.land()
    for offset in (1, 2, 3):
        await core.read()
        await core.answer(offset)
    assert core.send.offsets() == [1, 2, 3]
    assert core.lane("a").is_idle
    await core.end()


@in_virtual_time
async def test_begun_to_is_raised_only_when_the_rows_are_durable() -> None:
    core = await Core(matches=True).open()
    await core.stream(2, "a")
    core.publish(begun(core, "a", 1))
    core.hear()
    core.publish(begun(core, "b", 2))
    core.hear()
    assert core.dispatcher.begun_to(0) == 0
    await core.land()
    assert core.dispatcher.begun_to(0) == 2
    assert core.dispatcher.offsets_to_commit() == {0: 2}
    core.commit()
    assert core.dispatcher.offsets_to_commit() == {}

    after = Core(before=core, matches=True)
    core.rows.is_dead = True
    await after.open()
    await after.land()
    assert after.lane("a").next == 1
    await core.end()
    await after.end()


@in_virtual_time
async def test_opening_waits_for_subscriptions_that_have_begun() -> None:
    core = Core(matches=True)
    await core.open()
    core.publish(begun(core, "a", 0))
    core.begun_to = 1
    after = Core(before=core, matches=True)
    opening = asyncio.create_task(after.dispatcher.open({0: 0}, {0: replace(ANY_LOG, begun_to=1)}))
    await settle()
    assert not opening.done(), "the worker has not read a subscription that had begun"
    after.hear()
    await opening
    await after.stream(1, "a")
    assert after.pending == [0]
    await core.end()
    await after.end()


@in_virtual_time
async def test_a_recreated_subscription_gets_no_earlier_events() -> None:
    """The worker may not see the record of the deletion: compaction keeps only the newest record of a key."""
    core = Core(matches=True)
    core.publish(begun(core, "a", 0))
    await core.open()
    await core.stream(3, "a")
    assert core.pending == [0]
    core.registry.changes.append(("other", None))
    core.publish(begun(core, "a", 3))
    core.hear()
    await settle()
    await core.answer(0)
    await core.stream(1, "a")
    assert core.pending == [3]
    assert core.lane("a").next == 3
    await core.end()


@in_virtual_time
@pytest.mark.parametrize(("topic_id", "then_sent"), [("a", []), ("another", [0])])
async def test_in_a_recreated_topic_a_subscription_begins_at_0(topic_id: str, then_sent: list[int]) -> None:
    core = await Core(matches=True).open(replace(ANY_LOG, topic_id=topic_id))
    core.topic_id = topic_id
    core.publish(begun(core, "a", 1, starts={TOPIC: Start((1,), "a")}))
    await core.stream(1, "a")
    core.hear()
    await settle()
    await core.land()
    await core.read()
    assert core.pending == then_sent
    await core.end()


@in_virtual_time
async def test_events_that_are_read_again_do_not_count_as_lost() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "a", 0))
    await core.open()
    await core.stream(3, "a")
    core.registry.changes.append(("other", None))
    core.publish(begun(core, "a", 1))
    core.hear()
    await settle()
    assert core.telemetry.drops["unknown-subscription"] == 1, "only the event at 0"
    await core.answer(0)
    await core.land()
    await core.read()
    assert core.pending == [1]
    await core.end()


@in_virtual_time
async def test_a_row_of_a_deleted_subscription_is_removed() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "a", 0))
    await core.open()
    await core.stream(3, "a")
    await core.answer(0, Rejected(400))
    await core.land()
    assert core.row_topic.rows[b"a"].next == 0
    core.delete("a")
    core.publish(begun(core, "a", 3))
    core.rows.is_dead = True

    after = await Core(before=core, matches=True).open()
    await after.land()
    assert b"a" not in after.row_topic.rows
    after.position = 3
    await after.stream(1, "a")
    assert after.pending == [3]
    await core.end()
    await after.end()


@in_virtual_time
async def test_a_row_written_with_routing_key_is_kept() -> None:
    """With `key`, an edit does not record the revision of the creation. So it looks like a first record without a
    start."""
    core = Core()
    core.publish(subscription("a", created=0))
    await core.open()
    await core.stream(3, "a")
    await core.answer(0, Rejected(400))
    await core.land()
    core.rows.is_dead = True
    core.registry.changes.append(("other", None))
    core.publish(subscription("a", created=2))  # while no worker runs

    after = await Core(before=core, matches=True).open()
    await after.land()
    assert after.row_topic.rows[b"a"].next == 0
    assert after.lane("a").next == 0
    await core.end()
    await after.end()


@in_virtual_time
async def test_after_an_edit_of_the_filter_the_count_is_an_upper_bound() -> None:
    core = Core(matches=True)
    made = core.publish(begun(core, "a", 0))
    await core.open()
    await core.stream(2, "a")
    await core.answer(0, Rejected(400))
    await core.land()
    await core.stream(3, "a")
    assert core.lane("a").events.in_log.is_exact
    await core.revise(replace(resumed(made), filter=wants("b")))
    assert not core.lane("a").events.in_log.is_exact
    await core.end()


def test_start_offsets_of_a_former_topic_are_ignored() -> None:
    made = Subscription("s", 3, "https://receiver.example", starts={TOPIC: Start((5, 7), "one")})
    assert made.start_in(TOPIC, 1, "one") == 7
    assert made.start_in(TOPIC, 1, None) == 7
    assert made.start_in(TOPIC, 1, "another") == 0
    assert made.start_in(TOPIC, 2, "one") == 0, "the partition did not exist"
    assert made.start_in("other", 0, None) is None, (
        "the topic was no source, so the subscription begins where the group begins"
    )
    assert replace(made, starts=None).start_in(TOPIC, 0, None) is None


@in_virtual_time
async def test_a_filter_is_evaluated_once_per_revision() -> None:
    core, asked = Core(matches=True), []

    def counted(event: Event) -> bool:
        asked.append(event.offset)
        return True

    made = core.publish(begun(core, "a", 0, filter=counted))
    await core.open()
    await core.stream(3, "a")
    await core.answer(0)
    assert asked == [0, 1, 2]
    await core.revise(replace(made, filter=wants("b")))
    await core.answer(1)
    assert core.send.offsets() == [0, 1], "event 2 was queued, and no longer matches"
    assert core.telemetry.deliveries["filtered"] == 1
    await core.end()


@in_virtual_time
async def test_moving_the_group_s_offset_restarts_no_subscription() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "a", 0))
    core.produce(3, "a")
    core.committed, core.begun_to = 3, LARGEST_OFFSET
    await core.open()
    await core.stream(1, "a")
    assert core.pending == [3]
    assert core.dispatcher.begun_to(0) == 1, "the next commit contains the correct revision"
    await core.end()


@in_virtual_time
async def test_a_note_does_not_apply_to_subscriptions_read_later() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "a", 0, qos=Qos.AUTO, concurrency=3))
    await core.open()
    batch = core.produce(3, "ab")
    await core.dispatch(batch)
    core.publish(begun(core, "b", 1))
    await core.answer(2)
    core.commit()
    assert (core.committed, core.ahead, core.begun_to) == (0, 0b100, 1)
    core.rows.is_dead = True

    after = await Core(before=core, matches=True).open()
    await after.dispatch(batch)
    await after.land()
    for _ in batch:
        await after.read()
        for attempt in list(after.send.pending):
            attempt.answer(OK)
        await settle()
    assert [each.offset for each in after.send.made if each.subscription.id == "b"] == [1, 2]
    assert [each.offset for each in after.send.made if each.subscription.id == "a"] == [0, 1]
    await core.end()
    await after.end()


@in_virtual_time
async def test_a_period_of_routing_by_key_restarts_no_subscription() -> None:
    core = Core(matches=True)
    core.publish(begun(core, "s", 0))
    await core.open()
    await core.stream()
    await core.answer(0)
    core.commit()
    await core.stop()
    assert core.begun_to == 1

    by_key = await Core(before=core).open()
    await by_key.stream()
    await by_key.answer(1)
    by_key.commit()
    await by_key.stop()

    after = await Core(before=by_key, matches=True).open()
    await after.land()
    await after.read()
    assert after.send.made == []
    await after.end()


@in_virtual_time
async def test_an_unreadable_record_discards_no_events() -> None:
    """An unreadable record does not say when its subscription was created. It must not count as a new subscription."""
    core = Core(matches=True)
    made = core.publish(begun(core, "s", 0))
    await core.open()
    await core.stream(4)
    await core.answer(0)
    unreadable = replace(made, created=len(core.registry.changes), starts=None, filter=None, problem="no JSON")
    await core.revise(unreadable)
    await core.land()
    assert (core.lane().status, core.lane().next) == (Status.FAILURE, 1)
    await core.revise(replace(unreadable, problem=None))
    await core.read()
    assert core.pending == [1]
    await core.end()


@in_virtual_time
async def test_after_a_manual_move_only_old_subscriptions_have_begun() -> None:
    """An operator has moved the group. Subscriptions that existed then have begun; subscriptions created later have
    not."""
    core = Core()
    core.publish(begun(core, "a", 0))
    core.begun_to = LARGEST_OFFSET
    await core.open()
    core.publish(begun(core, "b", 0))
    core.hear()
    assert core.dispatcher.begun_to(0) == 1
    await core.end()


@in_virtual_time
async def test_an_edit_at_the_same_time_as_a_deletion_restarts_nothing() -> None:
    """The record of the edit contains the original creation and start."""
    core = Core(matches=True)
    made = core.publish(begun(core, "s", 0))
    await core.open()
    await core.stream()
    await core.answer(0)
    core.commit()
    assert core.begun_to == 1
    core.delete("s")
    core.publish(made)
    core.hear()
    await core.land()
    await core.read()
    await core.stream()
    assert core.pending == [1]
    await core.end()
