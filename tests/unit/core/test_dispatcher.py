"""The dispatcher: partitions are opened, committed, given back or lost; the next owner finds a correct state."""

import asyncio
from collections.abc import Mapping

import pytest

from pipeline.core.errors import BrokerError, FencedError
from pipeline.core.model import Cursor, Row, Status
from pipeline.core.outcome import Failed, Rejected
from pipeline.core.ports import LaneLimits
from pipeline.core.subscription import Qos
from tests.support.core import OK, Core, paused, subscription
from tests.support.fakes import ANY_LOG, MemoryRows, RowTopic, VirtualClock
from tests.support.virtual_time import in_virtual_time, settle

BROKEN = Failed("broken off", may_have_arrived=True)


async def stopped(core: Core) -> None:
    """Stop a worker cleanly. Every row becomes durable."""
    stopping = asyncio.create_task(core.stop())
    while not stopping.done():
        await settle()
        core.rows.land()
        await asyncio.sleep(0.1)
    await stopping


# ------------------------------------------------------------------- committing


@in_virtual_time
async def test_the_committed_offset_is_the_first_unsettled_event() -> None:
    core = await Core(subscription("s"), subscription("t")).open()
    await core.dispatch([*core.produce(1, "s"), *core.produce(2, "t")])
    assert core.dispatcher.offsets_to_commit() == {0: 0}

    await core.answer(1)
    assert core.dispatcher.offsets_to_commit() == {0: 0}
    await core.answer(0)
    assert core.dispatcher.offsets_to_commit() == {0: 2}
    await core.answer(2)
    assert core.dispatcher.offsets_to_commit() == {0: 3}
    await core.end()


@in_virtual_time
async def test_a_commit_is_repeated_until_the_broker_confirms_it() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    await core.answer(0)
    assert core.dispatcher.offsets_to_commit() == {0: 1}
    assert core.dispatcher.offsets_to_commit() == {0: 1}, "the broker has not confirmed it"

    core.dispatcher.committed({0: 1}, {})
    assert core.dispatcher.offsets_to_commit() == {}
    await core.end()


@in_virtual_time
async def test_a_gap_is_skipped_once_earlier_events_are_dispatched() -> None:
    core = await Core(subscription()).open()
    batch = core.produce(2)
    core.dispatcher.pass_over(0, 2, 5)
    core.dispatcher.pass_over(1, 0, 5)
    core.dispatcher.pass_over(0, None, 5)
    assert core.committable == 0, "the batch that ends at 2 was not dispatched yet"

    await core.dispatch(batch)
    core.dispatcher.pass_over(0, 2, 2)
    core.dispatcher.pass_over(0, 2, 5)
    assert (core.committable, core.partition.dispatched_to) == (0, 5)
    await core.answer(0)
    await core.answer(1)
    assert core.committable == 5
    await core.end()


@in_virtual_time
async def test_a_batch_that_is_fetched_twice_is_delivered_once() -> None:
    core = await Core(subscription()).open()
    batch = core.produce(2)
    await core.dispatch(batch)
    await core.dispatch([*batch, *core.produce(1)])
    for offset in range(3):
        await core.answer(offset)

    assert core.send.offsets() == [0, 1, 2]
    assert core.committable == 3
    await core.end()


@in_virtual_time
async def test_events_of_a_closed_partition_are_left_to_the_new_owner() -> None:
    core = await Core(subscription()).open()
    await core.end()
    core.dispatcher.dispatch(0, core.produce(1))
    await settle()

    assert core.send.made == []
    assert core.dispatcher.offsets_to_commit() == {}
    assert core.closed == [0]


@in_virtual_time
async def test_the_rows_of_a_closed_partition_are_closed() -> None:
    core = await Core(subscription()).open()
    assert not core.rows.is_dead
    await core.end()
    assert core.rows.is_dead, "otherwise its transactions would fence the next owner's"


# ------------------------------------------------------------------- opening


@pytest.mark.parametrize(
    ("row", "state", "then_sent"),
    [
        (None, None, [2]),
        (Cursor(1), "behind", [1]),
        (Cursor(2), "live", [2]),
        (Cursor(3), "live", [3]),
        (Cursor(1, Status.FAILURE), "halted", []),
        (Cursor(9, Status.PAUSED), "live", [9]),
    ],
    ids=["no row", "before the position", "at it", "after it", "failed", "paused by a revision that no longer exists"],
)
@in_virtual_time
async def test_a_lane_begins_at_the_offset_in_its_row(
    row: Cursor | None, state: str | None, then_sent: list[int]
) -> None:
    before = Core(subscription())
    before.produce(2)
    before.committed = 2
    if row is not None:
        before.row_topic.rows[b"s"] = Cursor(row.next, row.status, revision=0)
    core = await Core(before=before, limits=LaneLimits(events=100, bytes=1_000_000, hold_seconds=5.0)).open()
    assert (core.lane().state.feed if row else None) == state

    await core.stream(8)
    await core.read()
    assert core.pending[:1] == then_sent
    await core.end()


@in_virtual_time
async def test_attempt_count_and_retry_wait_survive_a_crash() -> None:
    before = Core(subscription())
    before.produce(1)
    before.committed = 1
    now = asyncio.get_running_loop().time()
    before.row_topic.rows[b"s"] = Cursor(0, attempt=2, first_attempt_at=now - 9.0, not_before=now + 30.0, revision=0)
    core = await Core(before=before).open()
    await core.read()
    assert core.send.made == []

    await asyncio.sleep(30.0)
    await core.read()
    assert [attempt.number for attempt in core.send.made] == [3]
    await core.answer(0, BROKEN)
    assert core.lane().status is Status.FAILURE, "two retries, and no more after the restart"
    await core.end()


@in_virtual_time
async def test_a_command_not_yet_applied_is_applied_on_opening() -> None:
    spec = subscription()
    before = await Core(spec).open()
    await before.stream(1)
    await before.answer(0, Rejected(400))
    await before.land()
    await before.end()
    before.publish(spec)
    core = await Core(before=before).open()
    await core.dispatch(core.log.read(0, 100))

    assert core.lane().status is Status.STARTED
    assert core.pending == [0]
    await core.end()


class Unreachable(MemoryRows):
    """A store whose broker does not answer for a while."""

    def __init__(self, topic: RowTopic, failures: list[Exception]) -> None:
        super().__init__(topic)
        self.failures = failures

    async def open(self) -> Mapping[bytes, Row]:
        if self.failures:
            raise self.failures.pop(0)
        return await super().open()


@in_virtual_time
async def test_opening_a_partition_retries_until_its_rows_are_readable() -> None:
    core = Core(subscription())
    failures: list[Exception] = [OSError("away"), OSError("still away")]
    core.dispatcher._rows_of = lambda _number, _log: Unreachable(core.row_topic, failures)
    await core.dispatcher.open({0: 0}, {0: ANY_LOG})

    assert core.dispatcher.is_open(0)
    assert failures == []
    await core.end()


@in_virtual_time
async def test_a_failed_opening_is_logged_once_in_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    core = Core(subscription())
    failures: list[Exception] = [BrokerError("not allowed")] * 5
    core.dispatcher._rows_of = lambda _number, _log: Unreachable(core.row_topic, failures)
    await core.dispatcher.open({0: 0}, {0: ANY_LOG})

    assert core.dispatcher.is_open(0)
    assert caplog.messages == ['partition.not-opened topic=events partition=0 error="not allowed"']
    assert not any(record.exc_info for record in caplog.records)
    await core.end()


@in_virtual_time
async def test_a_partition_revoked_during_its_opening_stays_closed() -> None:
    core = Core(subscription())
    core.dispatcher._rows_of = lambda _number, _log: Unreachable(core.row_topic, [OSError("away")] * 1_000)
    opening = asyncio.create_task(core.dispatcher.open({0: 0}, {0: ANY_LOG}))
    await asyncio.sleep(5.0)
    assert await core.dispatcher.drain([0], 1.0) == {}
    await core.dispatcher.close([0])
    await opening

    assert not core.dispatcher.is_open(0)


# ------------------------------------------------------------------- giving back


@pytest.mark.parametrize("qos", list(Qos))
@in_virtual_time
async def test_a_clean_stop_repeats_and_loses_nothing(qos: Qos) -> None:
    spec = subscription(qos=qos, concurrency=1)
    first = await Core(subscription("held"), spec).open()
    await first.dispatch([*first.produce(1, "held"), *first.produce(3, "s")])
    for offset in (1, 2):
        await first.land()
        await first.answer(offset)
    await first.land()
    await first.checkpoint()
    stopping = asyncio.create_task(stopped(first))
    await settle()
    await first.answer(3)  # this request was under way when the stop began
    await stopping
    assert first.send.offsets() == [0, 1, 2, 3]

    second = await Core(before=first).open()
    await second.dispatch(second.log.read(second.committed, 100))
    await second.read()
    assert second.committed == 0, "the other lane holds back the committed offset"
    assert second.pending == [0]
    await second.end()


@in_virtual_time
async def test_a_stop_cancels_attempts_that_do_not_end() -> None:
    first = await Core(subscription()).open()
    await first.stream(2)
    began = asyncio.get_running_loop().time()
    await stopped(first)
    assert asyncio.get_running_loop().time() - began < 10.0

    second = await Core(before=first).open()
    await second.dispatch(second.log.read(second.committed, 100))
    assert second.pending == [0]
    await second.end()


@in_virtual_time
async def test_a_stop_ends_and_commits_even_if_rows_are_not_durable() -> None:
    core = await Core(subscription()).open()
    await core.stream(6)  # over the bound: the lane is behind, and its row never becomes durable
    offsets = await core.dispatcher.drain([0], 8.0)

    assert offsets == {0: 0}
    await core.end()


@in_virtual_time
async def test_no_attempt_begins_while_a_partition_is_given_back() -> None:
    core = await Core(subscription()).open()
    await core.stream(2)
    stopping = asyncio.create_task(stopped(core))
    await settle()
    core.dispatcher.dispatch(0, core.produce(1))
    await core.answer(0)
    await stopping

    assert core.send.offsets() == [0]
    assert core.committed == 1


# ------------------------------------------------------------------- losing


@in_virtual_time
async def test_a_fenced_worker_closes_the_partition_and_sends_no_more() -> None:
    spec = subscription(qos=Qos.AT_MOST_ONCE)
    former = await Core(spec).open()
    await former.stream(2)
    owner = await Core(before=former).open()
    await former.land()  # the row of the claim is refused
    assert not former.dispatcher.is_open(0)
    assert former.send.made == []
    assert former.dispatcher.offsets_to_commit() == {}
    assert former.dispatcher.fenced() == [0], "the group has not informed this worker yet"
    await former.dispatcher.close([0])
    assert former.dispatcher.fenced() == []

    await owner.dispatch(owner.log.read(0, 100))
    await owner.land()
    assert owner.pending == [0]
    assert owner.row_topic.rows[b"s"].next == 1

    await former.dispatcher.open({0: 0}, {0: ANY_LOG})
    assert former.dispatcher.is_open(0)
    assert former.dispatcher.fenced() == [], "this worker is the owner again"
    await owner.end()
    await former.end()


@in_virtual_time
async def test_a_late_loss_does_not_close_a_reopened_partition() -> None:
    core = await Core(subscription()).open()
    former = core.partition
    await core.end()
    await core.open()
    core.dispatcher.lost(former)
    await settle()
    assert core.partition is not former
    assert core.dispatcher.fenced() == []
    await core.end()


@in_virtual_time
async def test_a_partition_that_is_fenced_while_it_opens_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fenced(_: MemoryRows) -> None:
        raise FencedError("fenced by accident, or by a newer owner")

    core = Core(subscription())
    with monkeypatch.context() as patched:
        patched.setattr(MemoryRows, "open", fenced)
        await core.open()
    assert (core.dispatcher.is_open(0), core.dispatcher.fenced()) == (False, [0])
    await core.open()
    assert (core.dispatcher.is_open(0), core.dispatcher.fenced()) == (True, [])
    await core.end()


@in_virtual_time
async def test_an_answer_after_the_close_settles_no_event() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    partition = core.partition
    attempt = core.send.pending[0]
    await core.end()
    attempt.answer(OK)
    await settle()

    assert partition.window.committable == 0
    assert core.telemetry.in_flight == 0
    assert core.slots.taken == 0


# ------------------------------------------------------------------- bounds


@in_virtual_time
async def test_when_a_worker_is_full_its_largest_lanes_fall_behind() -> None:
    limits = LaneLimits(events=100, bytes=1_000_000, hold_seconds=5.0)
    core = await Core(subscription("big"), subscription("small"), limits=limits, worker_bytes=6_000).open()
    await core.dispatch([*core.produce(2, "small"), *core.produce(12, "big")])

    assert core.lane("big").state.feed == "behind"
    assert core.lane("small").state.feed == "live"
    assert 2 * core.dispatcher.memory.used <= 6_000
    await core.end()
    assert core.dispatcher.memory.used == 0


@in_virtual_time
async def test_an_event_in_flight_for_too_long_stops_blocking_commits() -> None:
    core = await Core(subscription("slow"), subscription("quick")).open()
    await core.dispatch([*core.produce(1, "slow"), *core.produce(1, "quick")])
    await core.answer(1)
    await asyncio.sleep(4.9)
    await core.checkpoint()
    assert core.lane("slow").state.feed == "live"
    await asyncio.sleep(0.2)
    await core.checkpoint()
    assert core.lane("slow").state.feed == "behind"
    assert core.committable == 0, "its row is not durable yet"
    await core.land()

    assert core.committable == 2
    assert core.pending == [0], "requests under way continue"
    await core.answer(0)
    assert core.send.offsets() == [0, 1]
    await core.end()


@in_virtual_time
async def test_events_deleted_before_a_lane_read_them_are_counted() -> None:
    spec = subscription()
    core = await Core(spec).open()
    await core.stream(1)
    await core.revise(paused(spec))
    await core.answer(0)
    await core.land()
    await core.stream(5)
    core.log.cut(4)
    await core.revise(spec)
    await core.read()
    await core.read()

    assert core.telemetry.drops["retention"] == 3
    assert core.pending == [4]
    await core.end()


@in_virtual_time
async def test_checkpoints_pause_even_if_the_hold_time_is_zero() -> None:
    core = await Core(limits=LaneLimits(events=4, bytes=1_000_000, hold_seconds=0.0)).open()
    keeping = asyncio.create_task(core.dispatcher.keep_checkpoints())
    await settle(1000)
    assert core.dispatcher._checkpoints == 0, "no time has passed"
    await asyncio.sleep(1.0)
    assert core.dispatcher._checkpoints > 0
    keeping.cancel()
    await core.end()


@in_virtual_time
async def test_a_clock_that_is_set_back_stops_no_checkpoint() -> None:
    core = await Core(subscription()).open()
    keeping = asyncio.create_task(core.dispatcher.keep_checkpoints())
    await core.stream()
    await core.answer(0, BROKEN)
    await asyncio.sleep(1.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VirtualClock, "now", lambda _clock: asyncio.get_running_loop().time() - 7200.0)
        await core.answer(0)
        await core.land()
        await asyncio.sleep(5.0)
        await core.land()
    row = core.row_topic.rows[b"s"]
    assert (row.next, row.attempt) == (1, 0), "the row contains no tries, because they have ended"
    keeping.cancel()
    await core.end()


# ------------------------------------------------------------------- the stream


@in_virtual_time
async def test_the_stream_is_busy_until_a_second_after_its_last_event() -> None:
    core = await Core(subscription()).open()
    assert not core.partition.is_streaming
    await core.stream(1)
    assert core.partition.is_streaming
    await asyncio.sleep(0.9)
    assert core.partition.is_streaming
    await asyncio.sleep(0.2)
    assert not core.partition.is_streaming
    await core.end()
