"""The decisions before an attempt: whether the event matches the filter, and whether the rate allows a request."""

import asyncio
from dataclasses import dataclass

from pipeline.core.model import Cursor, Event, Status
from pipeline.core.outcome import Rejected, ServerError
from pipeline.core.subscription import Qos, Rate, ReplayOffset, RetryPolicy
from tests.support.core import Core, paused, resumed, subscription
from tests.support.virtual_time import in_virtual_time, settle


@dataclass(frozen=True, slots=True)
class Even:
    """A filter that matches even offsets."""

    def __call__(self, event: Event) -> bool:
        return event.offset % 2 == 0


async def answers(core: Core, count: int) -> None:
    """Answer the next *count* requests with 200. Let time pass until each is made."""
    for _ in range(count):
        if not core.pending:
            await asyncio.sleep(5.0)
        await core.answer(core.pending[0])


@in_virtual_time
async def test_filtered_events_are_settled_and_counted_but_not_sent() -> None:
    core = await Core(subscription(filter=Even())).open()
    await core.stream(4)
    await answers(core, 2)
    await settle()

    assert core.send.offsets() == [0, 2]
    assert core.committable == 4
    assert core.telemetry.deliveries["filtered"] == 2
    assert core.telemetry.deliveries["dropped"] == 0
    await core.end()


@in_virtual_time
async def test_a_filter_that_no_event_matches_writes_no_rows() -> None:
    core = await Core(subscription(filter=lambda _event: False, qos=Qos.AT_MOST_ONCE)).open()
    for _ in range(5):
        await core.stream(4)
        await settle()

    assert core.committable == 20
    assert core.row_topic.history == []
    await core.end()


@in_virtual_time
async def test_a_filtered_event_waits_for_earlier_events() -> None:
    core = await Core(subscription(filter=Even())).open()
    await core.stream(2)
    assert core.committable == 0, "the first event is in flight"
    await core.answer(0)
    assert core.committable == 2
    await core.end()


@in_virtual_time
async def test_a_filter_edited_before_a_retry_applies_to_the_retry() -> None:
    core = await Core(subscription()).open()
    await core.stream(2)
    await core.answer(0, ServerError(500))
    await core.revise(subscription(filter=lambda event: event.offset == 1))
    await asyncio.sleep(1.1)

    assert core.send.offsets() == [0, 1]
    assert core.telemetry.deliveries["filtered"] == 1
    await core.end()


@dataclass(slots=True)
class Looking:
    """A filter that matches every event, and records the events for which it is evaluated."""

    looked_at: list[int]

    def __call__(self, event: Event) -> bool:
        self.looked_at.append(event.offset)
        return True


@in_virtual_time
async def test_a_filter_is_evaluated_once_for_all_attempts() -> None:
    looking = Looking([])
    core = await Core(subscription(qos=Qos.AUTO, filter=looking, rate=Rate(2.0))).open()
    await core.stream(3)
    await core.answer(0, ServerError(500))
    await answers(core, 3)
    await settle()

    assert sorted(core.send.offsets()) == [0, 0, 1, 2]
    assert looking.looked_at == [0, 1, 2]
    await core.end()


@in_virtual_time
async def test_a_filter_edited_during_the_wait_for_a_slot_applies() -> None:
    core = await Core(subscription("other"), subscription(filter=Even()), slots=1).open()
    await core.stream(1, "other")
    await core.stream(2)
    await core.stream(1)
    await core.revise(subscription(filter=lambda event: event.offset != 2))
    await core.answer(0)
    await settle()

    assert core.pending == [3]
    assert core.committable == 3
    await core.end()


@in_virtual_time
async def test_a_new_filter_and_a_replay_together_lose_nothing() -> None:
    core = Core()
    core.produce(1)
    core.committed = 1
    await core.open()
    replay = core.publish(subscription(filter=Even(), resume_from=ReplayOffset(0, 0)))
    await core.stream(1)
    assert core.pending == [], "the subscription of the event is not known yet"
    core.hear()
    await settle()
    core.rows.store()
    await core.read()

    assert core.lane().subscription == replay
    assert core.lane().status is Status.STARTED
    assert core.pending == [0]
    await core.end()


@in_virtual_time
async def test_a_rate_spaces_the_attempts_and_writes_no_rows() -> None:
    core = await Core(subscription(rate=Rate(2.0))).open()
    await core.stream(4)
    await core.answer(0)
    for offset in range(1, 4):
        await asyncio.sleep(0.4)
        assert core.pending == []
        await asyncio.sleep(0.101)
        assert core.pending == [offset]
        await core.answer(offset)

    assert core.row_topic.history == []
    await core.end()


@in_virtual_time
async def test_a_rate_slower_than_the_hold_time_loses_no_event() -> None:
    core = await Core(subscription(rate=Rate(0.1))).open()
    await core.stream(3)
    await core.answer(0)
    assert core.lane().state.feed == "behind"
    await core.land()
    assert core.committable == 3, "a lane that waits for its rate holds up no other lane"
    for offset in (1, 2):
        assert core.pending == []
        await asyncio.sleep(10.1)
        core.rows.store()
        await core.read()
        await settle()
        assert core.pending == [offset]
        await core.answer(offset)

    assert core.send.offsets() == [0, 1, 2]
    await core.end()


@in_virtual_time
async def test_an_event_waits_for_its_rate_before_it_is_claimed() -> None:
    core = await Core(subscription(qos=Qos.AT_MOST_ONCE, rate=Rate(1.0))).open()
    await core.stream(2)
    await core.land()
    await core.answer(0)
    assert core.lane().next == 1, "the second event is not claimed while it waits"
    await asyncio.sleep(1.1)
    assert core.lane().next == 2
    await core.land()
    await core.answer(1)
    await core.end()


@in_virtual_time
async def test_a_pause_ends_the_wait_for_the_rate() -> None:
    core = await Core(subscription(rate=Rate(0.25))).open()
    await core.stream(2)
    await core.answer(0)
    held = await core.revise(paused(subscription(rate=Rate(0.25))))
    await core.land()
    assert core.lane().next == 1
    await asyncio.sleep(60)
    assert core.send.offsets() == [0]
    await core.revise(resumed(held))
    await core.read()
    await core.answer(1)
    await core.end()


@in_virtual_time
async def test_a_stop_ends_the_wait_for_the_rate_and_keeps_the_event() -> None:
    core = await Core(subscription(rate=Rate(0.25))).open()
    await core.stream(2)
    await core.answer(0)
    await core.stop()
    assert core.committed == 1


@in_virtual_time
async def test_a_busy_receiver_gets_later_events_slowly() -> None:
    slow = RetryPolicy(max_attempts=3, initial_delay_seconds=1.0, max_delay_seconds=4.0)
    core = await Core(subscription(qos=Qos.AUTO, retry=slow)).open()
    await core.stream(3)
    assert core.pending == [0, 1, 2]
    await core.answer(0, Rejected(429))
    await core.answer(1)
    await core.answer(2)
    await core.stream(2)
    assert core.pending == [], "the gap applies to every event of the subscription"
    await asyncio.sleep(0.6)
    assert len(core.pending) == 1
    await answers(core, 3)
    assert core.committable == 5
    await core.end()


@in_virtual_time
async def test_jitter_shortens_the_wait() -> None:
    core = Core(subscription(), chance=lambda: 0.25)
    await core.open()
    await core.stream()
    await core.answer(0, ServerError(500))
    await asyncio.sleep(0.2)
    assert core.pending == []
    await asyncio.sleep(0.06)
    assert core.pending == [0]
    await core.answer(0)
    await core.end()


@in_virtual_time
async def test_a_restart_does_not_extend_the_deadline_of_an_event() -> None:
    limited = RetryPolicy(max_attempts=100, initial_delay_seconds=1.0, max_delay_seconds=1.0, max_elapsed_seconds=20.0)
    before = Core(subscription(retry=limited))
    before.produce(1)
    before.committed = 1
    first = asyncio.get_running_loop().time() - 30.0
    before.row_topic.rows[b"s"] = Cursor(0, attempt=2, first_attempt_at=first, revision=0)
    successor = await Core(before=before, dead_letters=True).open()
    await successor.read()
    await successor.answer(0, ServerError(500))

    assert [letter.reason for letter, _ in successor.letters.pending] == ["expired"]
    await successor.end()


@in_virtual_time
async def test_attempts_that_wait_for_the_rate_or_a_slot_are_counted() -> None:
    limited = subscription("slow", rate=Rate(1.0))
    core = await Core(limited, subscription("a"), subscription("b"), subscription("c"), slots=2).open()
    await core.stream(2, "slow")
    await core.answer(0)
    assert core.telemetry.throttles == {"rate": 1, "slots": 0}
    for name in ("a", "b", "c"):
        await core.stream(1, name)
    assert core.telemetry.throttles == {"rate": 1, "slots": 1}
    await core.end()
