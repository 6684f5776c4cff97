"""How a worker reports its lanes, without blocking the event loop."""

import asyncio

import pytest

from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.model import Cause, Cursor, Status
from pipeline.core.outcome import Failed, ServerError
from pipeline.core.subscription import ReplayOffset, RetryPolicy, Skip
from pipeline.observability.prometheus import worker_families
from pipeline.observability.reporter import LANES_AT_ONCE
from pipeline.observability.status import EVERY_LANE, LaneFilter, LaneReport
from pipeline.observability.telemetry import Telemetry
from tests.support.core import SLOW, Core, paused, reporter_of, subscription
from tests.support.fakes import MS_PER_OFFSET
from tests.support.virtual_time import in_virtual_time, settle


async def passes(seconds: float) -> None:
    """Let time pass, and let all tasks run that become ready."""
    await asyncio.sleep(seconds)
    await settle()


def names(lanes: list[LaneReport]) -> list[str]:
    return [lane.subscription for lane in lanes]


@in_virtual_time
async def test_lanes_come_in_the_order_of_their_names() -> None:
    core = await Core().open()
    for name in ("b", "c", "a"):
        await core.revise(subscription(name))
        await core.stream(1, name)
    assert names(await reporter_of(core).lanes()) == ["a", "b", "c"]
    await core.end()


@in_virtual_time
async def test_a_closed_partition_seems_to_have_no_backlog() -> None:
    """A dispatched offset of 0 would turn the whole log into a backlog, and autoscaling would add workers."""
    core = await Core().open()
    core.dispatcher.assigned = frozenset({0, 1})
    report = reporter_of(core).worker()

    assert [(each.is_open, each.dispatched) for each in report.partitions] == [(True, 0), (False, None)]
    families = {each.name: each for each in worker_families(report, [], Telemetry())}
    dispatched = [(each.labels["partition"], each.value) for each in families["webhooks_dispatched_offset"].samples]
    assert dispatched == [("0", 0.0)]
    await core.end()


@in_virtual_time
async def test_a_partition_is_idle_until_events_arrive() -> None:
    core = await Core(subscription()).open()
    core.dispatcher.assigned = frozenset({0, 1})
    reporter = reporter_of(core)

    def idle() -> list[float]:
        return [each.idle_seconds for each in reporter.worker().partitions]

    await passes(30.0)
    assert idle() == [30.0, 30.0], "both were assigned half a minute ago"
    await core.stream(1)
    assert idle() == [0.0, 30.0]
    await passes(5.0)
    core.dispatcher.pass_over(0, 1, 3)
    assert idle() == [0.0, 35.0], "the end of a transaction is progress"
    await core.end()


@in_virtual_time
async def test_a_partition_is_not_idle_while_its_log_is_read() -> None:
    core = Core(subscription())
    core.produce(2)
    core.row_topic.rows[b"s"] = Cursor(0)
    core.committed = core.position = 2
    await core.open()
    await passes(30.0)
    [before] = reporter_of(core).worker().partitions
    await core.read()
    [after] = reporter_of(core).worker().partitions
    assert (before.idle_seconds, after.idle_seconds) == (30.0, 0.0)
    await core.end()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (EVERY_LANE, ["a", "b"]),
        (LaneFilter(subscription="a"), ["a"]),
        (LaneFilter(subscription="other"), []),
        (LaneFilter(state="halted"), ["b"]),
        (LaneFilter(status="paused"), ["b"]),
        (LaneFilter(status="started", state="halted"), []),
        (LaneFilter(partition=0), ["a", "b"]),
        (LaneFilter(partition=1), []),
    ],
    ids=str,
)
@in_virtual_time
async def test_only_the_requested_lanes_are_reported(wanted: LaneFilter, found: list[str]) -> None:
    core = await Core().open()
    for name in ("a", "b"):
        await core.revise(subscription(name))
        await core.stream(1, name)
    await core.revise(paused(subscription("b")))
    assert names(await reporter_of(core).lanes(wanted)) == found

    await core.end()


@in_virtual_time
async def test_a_report_of_many_lanes_yields_to_other_tasks() -> None:
    core = await Core().open()
    for number in range(3 * LANES_AT_ONCE):
        name = f"s-{number:03}"
        core.publish(subscription(name))
        core.hear()
        core.produce(1, name)
    core.dispatcher.dispatch(0, core.log.records)
    asked = asyncio.create_task(reporter_of(core).lanes(LaneFilter(subscription="s-000")))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    assert names(asked.result()) == ["s-000"]
    assert turns > 3, "other tasks get a turn after every hundred lanes"
    await core.end()


@in_virtual_time
async def test_a_retrying_lane_reports_its_last_error() -> None:
    core = await Core(subscription()).open()
    await core.stream(2)
    began = core.dispatcher.clock.now()
    await passes(2.0)
    await core.answer(0, ServerError(503))
    [lane] = await reporter_of(core).lanes()
    assert (lane.state, lane.attempt, lane.first_attempt_at) == ("live", 1, began)
    assert lane.error == FailedAttempt("the callback answered 503", began + 2.0, 503)
    assert lane.not_before == began + 3.0

    await passes(1.0)  # the second attempt is made
    await core.answer(0, Failed("no answer within 10 s", may_have_arrived=True))
    [lane] = await reporter_of(core).lanes()
    assert (lane.attempt, lane.first_attempt_at) == (2, began)
    assert lane.error == FailedAttempt("no answer within 10 s", began + 3.0, None)

    await passes(2.0)
    await core.answer(0)
    [lane] = await reporter_of(core).lanes()
    assert (lane.attempt, lane.error, lane.first_attempt_at, lane.next) == (0, None, None, 1), (
        "the next event is in flight, without an error"
    )
    await core.end()


@in_virtual_time
async def test_the_cause_of_a_retry_survives_a_restart_in_the_row() -> None:
    core = await Core(subscription(retry=SLOW)).open()
    await core.stream(1)
    await core.answer(0, ServerError(503))
    error = FailedAttempt("the callback answered 503", core.dispatcher.clock.now(), 503)
    await core.land()
    assert [row.error for _, row in core.row_topic.history if row is not None] == [error], (
        "the only row was written for the long wait"
    )
    await core.checkpoint()
    assert not core.rows.pending

    await core.stop()
    after = await Core(before=core).open()
    [lane] = await reporter_of(after).lanes()
    assert (lane.state, lane.attempt, lane.error) == ("behind", 1, error)
    await passes(20.0)
    await after.read()
    assert after.pending == [0]
    [lane] = await reporter_of(after).lanes()
    assert (lane.in_flight, lane.attempt, lane.error) == (1, 2, error), (
        "the first attempt's error is shown during the second attempt"
    )
    await after.end()


@in_virtual_time
async def test_a_failure_keeps_its_start_and_number_of_attempts() -> None:
    core = await Core(subscription()).open()
    began = core.dispatcher.clock.now()
    await core.stream(1)
    for wait in (1.0, 2.0, 0.0):
        await core.answer(0, ServerError(503))
        await passes(wait)
    await core.land()
    [row] = core.row_topic.rows.values()
    assert row.cause == Cause("server-error", "the callback answered 503", 0, began + 3.0, Attempts(3, began, 503))
    await core.stop()

    after = await Core(before=core).open()
    [lane] = await reporter_of(after).lanes()
    assert lane.cause == row.cause
    await after.end()


OTHER = subscription("other", filter=lambda _event: False)
"""A subscription whose events are settled at once, because its filter matches no event."""


async def others(core: Core, count: int) -> None:
    """Produce events of another subscription, which are settled at once."""
    for _ in range(count):
        await core.stream(1, "other")


async def told(core: Core, name: str = "s") -> tuple[int | None, int]:
    """The reported number of waiting events of a subscription (None if unknown), and its bound."""
    [lane] = await reporter_of(core).lanes(LaneFilter(subscription=name))
    return lane.waiting, lane.waiting_at_most


async def oldest(core: Core) -> float:
    """The reported age of the partition's oldest waiting event."""
    [partition] = reporter_of(core).worker().partitions
    return partition.oldest_unsettled_seconds


@in_virtual_time
async def test_events_of_other_subscriptions_do_not_count_as_waiting() -> None:
    core = await Core(subscription(), OTHER).open()
    for _ in range(6):  # one event more than the lane may hold besides the event in flight
        await others(core, 10)
        await core.stream(1)
    assert (core.lane().state.feed, await told(core)) == ("behind", (6, 6))
    await others(core, 30)
    await core.stream(2)
    assert await told(core) == (8, 8)

    await core.land()
    await core.read(1_000)
    assert await told(core) == (8, 8), "the count includes events in memory"
    for offset in (10, 21):
        await core.answer(offset)
    assert await told(core) == (6, 6)
    await core.end()


@in_virtual_time
async def test_after_a_restart_the_waiting_count_is_an_upper_bound() -> None:
    core = await Core(subscription(), OTHER).open()
    for _ in range(6):
        await others(core, 10)
        await core.stream(1)
    await core.land()
    await core.answer(10)
    core.commit()
    await core.stop()
    after = await Core(before=core).open()

    assert (core.row_topic.rows[b"s"].next, after.committed) == (21, 66)
    assert await told(after) == (None, 45), "the bound is the number of offsets in between"
    await after.stream(1)
    assert await told(after) == (None, 46)
    await after.read(1_000)
    assert await told(after) == (None, 6), "the queue is full before the last of them"
    await after.answer(21)
    await after.answer(32)
    await after.read(1_000)
    assert await told(after) == (4, 4)
    await after.end()


@in_virtual_time
async def test_a_failure_reports_number_and_age_of_waiting_events() -> None:
    core = await Core(subscription(retry=RetryPolicy(enabled=False)), OTHER).open()
    await others(core, 3)
    await core.stream(2)
    await core.answer(3, ServerError(503))
    await core.land()
    await others(core, 5)
    await core.stream(1)
    assert (core.lane().status, await told(core)) == (Status.FAILURE, (3, 3))
    await passes(600.0)
    event_at = 3 * MS_PER_OFFSET / 1000
    assert await oldest(core) == core.dispatcher.clock.now() - event_at
    [lane] = await reporter_of(core).lanes(LaneFilter(subscription="s"))
    assert lane.oldest_event_at == event_at

    await core.stop()
    after = await Core(before=core).open()
    assert await oldest(after) == after.dispatcher.clock.now() - event_at, "the row contains the time of the event"
    await after.revise(subscription())
    await after.revise(paused(subscription()))
    assert await oldest(after) == 0.0, "events of a paused subscription do not count"
    await after.end()


@in_virtual_time
async def test_a_lane_that_is_behind_reports_its_oldest_event() -> None:
    core = await Core(subscription()).open()
    for _ in range(6):
        await core.stream(1)
    await core.land()
    await core.answer(0)
    await passes(100.0)
    assert await oldest(core) == core.dispatcher.clock.now() - MS_PER_OFFSET / 1000

    for offset in range(1, 6):
        await core.read()
        await core.answer(offset)
    await core.read()
    assert (core.lane().state.feed, await told(core), await oldest(core)) == ("live", (0, 0), 0.0)
    await core.end()


@in_virtual_time
async def test_a_skipped_event_no_longer_waits() -> None:
    core = await Core(subscription(retry=RetryPolicy(enabled=False)), OTHER).open()
    await core.stream(2)
    await others(core, 3)
    await core.stream(1)
    await core.answer(0, ServerError(503))
    await core.land()
    assert await told(core) == (3, 3)
    await core.revise(subscription(resume_from=Skip(0, 0)))
    assert await told(core) == (2, 2)
    await core.end()


@in_virtual_time
async def test_right_after_a_replay_the_count_is_an_upper_bound() -> None:
    core = await Core(subscription(), OTHER).open()
    await core.stream(1)
    await core.answer(0)
    await others(core, 9)
    await core.revise(subscription(resume_from=ReplayOffset(0, 0)))
    assert await told(core) == (None, 10)
    await core.land()
    await core.read()
    assert await told(core) == (1, 1)
    await core.end()
