"""A subscription in FAILURE recovers by itself: probes, their times, and what takes precedence over them."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from pipeline.core.attempts import Probes
from pipeline.core.errors import LeaseEndedError
from pipeline.core.lane_state import LaneState
from pipeline.core.model import Cause, Status
from pipeline.core.outcome import (
    Delivered,
    Failed,
    NotPermitted,
    Outcome,
    Rejected,
    ServerError,
    TokenRefused,
    TokenUnavailable,
)
from pipeline.core.policy import DeadLetter, Retry, Rules, Settle, Stop, decide_probe
from pipeline.core.probing import PROBES_PER_HOST, ProbeGate, scheduled, taken_up
from pipeline.core.subscription import Interrupt, Jitter, Qos, RetryPolicy, Skip, Subscription
from tests.support.core import Core, paused, resumed, subscription
from tests.support.virtual_time import in_virtual_time, settle

DOWN = ServerError(500)
UNREACHED = Failed("connection refused", may_have_arrived=False)
ONCE = RetryPolicy(enabled=False)
POLICY = RetryPolicy(
    initial_delay_seconds=60.0, max_delay_seconds=600.0, jitter=Jitter.NONE, max_elapsed_seconds=7_200.0
)


def probed(name: str = "s", qos: Qos = Qos.AT_LEAST_ONCE, **changes: object) -> Subscription:
    """A subscription that goes into FAILURE at its first error, and is then probed."""
    return subscription(name, qos, retry=ONCE, probes=POLICY, **changes)


async def failed(core: Core, outcome: Outcome = DOWN, name: str = "s") -> Core:
    """Let the first event of a subscription fail while a second one waits."""
    await core.open()
    await core.stream(2, name)
    await core.answer(0, outcome)
    await core.land()
    assert core.lane(name).state is LaneState.FAILED
    return core


async def probe(core: Core, seconds: float = 60.0) -> None:
    """Let time pass until the probe is due, and let the log reader read its event."""
    await asyncio.sleep(seconds)
    await settle()
    await core.read()


def next_in(core: Core, name: str = "s") -> float | None:
    """The seconds until the next probe; None if none is planned."""
    cause = core.lane(name).cause
    assert cause is not None
    assert cause.probes is not None
    at = cause.probes.next_at
    return None if at is None else at - core.dispatcher.clock.now()


# ------------------------------------------------------------------- recovery without a user


@in_virtual_time
async def test_a_probe_that_succeeds_ends_the_failure() -> None:
    core = await failed(Core(probed()))
    assert core.pending == []
    await probe(core)

    assert (core.pending, core.lane().status, core.lane().state.feed) == ([0], Status.FAILURE, "behind")
    await core.answer(0)
    await core.land()
    await core.read()
    assert core.pending == [1]
    await core.answer(1)
    await core.checkpoint()
    await core.land()

    assert (core.lane().state, core.lane().cause) == (LaneState.LIVE, None)
    assert core.telemetry.probes == {"recovered": 1, "failed": 0}
    await core.end()


@in_virtual_time
async def test_probes_come_at_growing_intervals_until_the_limit() -> None:
    core = await failed(Core(probed()))
    waits = []
    while (seconds := next_in(core)) is not None:
        waits.append(round(seconds))
        await probe(core, seconds)
        assert core.pending == [0], "a probe sends one event once"
        await core.answer(0, DOWN)
        await core.land()

    assert waits == [60, 120, 240, 480, *[600] * 10]
    await asyncio.sleep(100_000)
    await core.read()
    assert core.pending == []
    assert core.telemetry.subscription_failures["server-error"] == 1, "it is still the same FAILURE"
    assert core.telemetry.probes["failed"] == len(waits)
    await core.end()


@in_virtual_time
async def test_probes_count_as_attempts_of_the_event() -> None:
    core = await failed(Core(probed()))
    await probe(core)
    assert core.send.pending[0].number == 2
    await core.answer(0, UNREACHED)
    cause = core.lane().cause

    assert cause is not None
    assert (cause.kind, cause.message, cause.offset) == ("exception", "connection refused", 0)
    assert cause.attempts is not None
    assert (cause.attempts.count, cause.attempts.status) == (2, None)
    await core.end()


@in_virtual_time
async def test_a_restart_does_not_restart_the_probes() -> None:
    former = await failed(Core(probed()))
    for seconds in (60, 120):
        await probe(former, seconds)
        await former.answer(0, DOWN)
        await former.land()
    await asyncio.sleep(100)
    former.commit()
    await former.end()
    core = await Core(before=former).open()

    assert core.lane().state is LaneState.FAILED
    assert round(next_in(core) or 0) == 140
    await probe(core, 140)
    assert (core.pending, core.send.pending[0].number) == ([0], 4)
    await core.end()


@in_virtual_time
async def test_a_probe_is_counted_in_the_row_before_it_is_sent() -> None:
    former = await failed(Core(probed()))
    await probe(former)
    await former.land()
    assert former.pending == [0]
    row = former.row_topic.rows[b"s"]

    assert (row.status, row.next) == (Status.FAILURE, 0)
    assert row.cause is not None
    assert row.cause.probes is not None
    assert row.cause.probes.made == 1
    await former.end()
    core = await Core(before=former).open()
    assert round(next_in(core) or 0) == 120
    await core.end()


@in_virtual_time
async def test_overdue_probes_are_spread_over_time() -> None:
    former = await failed(Core(probed()))
    former.commit()
    await former.end()
    await asyncio.sleep(3_000)
    core = await Core(before=former, chance=lambda: 0.5).open()

    assert round(next_in(core) or 0) == 30
    await core.end()


# ------------------------------------------------------------------- what is not probed


@pytest.mark.parametrize("outcome", [Rejected(400), Rejected(410), TokenRefused("x"), NotPermitted("x")], ids=str)
@in_virtual_time
async def test_failures_that_need_an_operator_are_not_probed(outcome: Outcome) -> None:
    core = await failed(Core(probed()), outcome)
    await probe(core, 100_000)

    assert core.pending == []
    cause = core.lane().cause
    assert cause is not None
    assert cause.probes is None
    await core.end()


@in_virtual_time
async def test_without_the_option_no_subscription_is_probed() -> None:
    core = await failed(Core(replace(probed(), probes=None)))
    await probe(core, 100_000)
    assert core.pending == []
    await core.end()


@in_virtual_time
async def test_after_its_end_a_subscription_is_not_probed() -> None:
    core = Core(probed())
    core.publish(replace(probed(), ending_at=core.dispatcher.clock.now() + 50))
    await failed(core)
    await probe(core, 100_000)
    assert core.pending == []
    await core.end()


# ------------------------------------------------------------------- commands take precedence


@in_virtual_time
async def test_a_resume_does_not_wait_for_the_probe() -> None:
    core = await failed(Core(probed()))
    await core.revise(resumed(probed()))
    await core.read()
    assert (core.pending, core.lane().status) == ([0], Status.STARTED)
    await core.answer(0, DOWN)
    assert round(next_in(core) or 0) == 60, "this is a new FAILURE, whose probes begin anew"
    await core.end()


@in_virtual_time
async def test_a_resume_before_a_probe_is_sent_starts_the_count_anew() -> None:
    core = await failed(Core(probed()))
    await asyncio.sleep(60)
    await settle()
    assert core.lane().state is LaneState.PROBING
    await core.revise(resumed(probed()))
    await core.read()
    assert [(attempt.offset, attempt.number) for attempt in core.send.pending] == [(0, 1)]
    await core.end()


@in_virtual_time
async def test_a_resume_during_a_probe_starts_the_count_anew() -> None:
    """The probe counts as the first attempt. So when it fails, the event is tried again before a FAILURE."""
    core = await failed(Core(probed()))
    await probe(core)
    assert core.pending == [0]
    await core.revise(replace(resumed(probed()), retry=RetryPolicy(max_attempts=1, initial_delay_seconds=1.0)))
    await core.answer(0, DOWN)
    assert core.lane().status is Status.STARTED
    await asyncio.sleep(2)
    await settle()
    assert [(attempt.offset, attempt.number) for attempt in core.send.pending] == [(0, 2)]
    await core.answer(0, DOWN)
    assert core.lane().status is Status.FAILURE
    await core.end()


@in_virtual_time
async def test_a_resume_while_a_probe_waits_starts_the_count_anew() -> None:
    core = await failed(Core(probed()))
    core.lease.end()
    await probe(core)
    assert ([*core.lane().events.in_flight], core.send.pending) == ([0], [])
    await core.revise(resumed(probed()))
    core.lease.confirm()
    await settle()
    assert [(attempt.offset, attempt.number) for attempt in core.send.pending] == [(0, 1)]
    await core.end()


@in_virtual_time
async def test_a_probe_that_was_not_sent_does_not_count_after_a_resume() -> None:
    core = await failed(Core(probed()))
    await probe(core)
    await core.revise(resumed(probed()))
    core.send.pending[0].answered.set_exception(LeaseEndedError("just now"))
    await settle()
    assert [(attempt.offset, attempt.number) for attempt in core.send.pending] == [(0, 1)]
    await core.end()


@in_virtual_time
async def test_a_resume_during_a_probe_starts_the_deadline_anew() -> None:
    core = await failed(Core(probed(), dead_letters=True))
    await probe(core)
    retry = RetryPolicy(max_attempts=9, initial_delay_seconds=1.0, max_elapsed_seconds=30.0, jitter=Jitter.NONE)
    await core.revise(replace(resumed(probed()), retry=retry))
    await core.answer(0, DOWN)
    assert (core.letters.pending, core.lane().status) == ([], Status.STARTED)
    await core.end()


@in_virtual_time
async def test_a_resume_after_a_crash_in_a_probe_starts_the_count_anew() -> None:
    former = await failed(Core(probed()))
    await probe(former)
    await former.land()
    former.commit()
    await former.end()
    core = await Core(before=former).open()
    assert core.lane().state is LaneState.FAILED
    await core.revise(resumed(probed()))
    await core.read()
    assert [(attempt.offset, attempt.number) for attempt in core.send.pending] == [(0, 1)]
    await core.end()


@in_virtual_time
async def test_a_pause_ends_a_probe_under_way_and_all_later_ones() -> None:
    core = await failed(Core(probed()))
    await probe(core)
    assert core.pending == [0]
    await core.revise(paused(probed()))
    await core.answer(0, DOWN)
    await probe(core, 100_000)

    assert core.pending == []
    await core.end()


@in_virtual_time
async def test_a_skip_during_a_probe_continues_with_the_next_event() -> None:
    core = await failed(Core(probed()))
    await probe(core)
    await core.revise(replace(probed(), resume_from=Skip(0, 0)))
    await core.answer(0, DOWN)
    await core.land()
    await core.read()
    assert (core.pending, core.lane().status) == ([1], Status.STARTED)
    await core.end()


# ------------------------------------------------------------------- at most once


@in_virtual_time
async def test_at_most_once_probes_with_the_next_unsent_event() -> None:
    core = await Core(probed(qos=Qos.AT_MOST_ONCE)).open()
    await core.stream(2)
    await core.land()
    await core.answer(0, DOWN)
    await core.land()
    assert core.telemetry.drops["given-up"] == 1
    await probe(core)
    await core.land()

    assert core.pending == [1]
    assert core.row_topic.rows[b"s"].status is Status.FAILURE
    await core.answer(1)
    assert core.lane().status is Status.STARTED
    assert core.send.offsets() == [0, 1]
    await core.end()


@in_virtual_time
async def test_a_probe_that_finds_no_event_ends_the_failure() -> None:
    core = await Core(probed(qos=Qos.AT_MOST_ONCE)).open()
    await core.stream(1)
    await core.land()
    await core.answer(0, DOWN)
    await core.land()
    await probe(core)
    await core.land()

    assert core.lane().state is LaneState.LIVE
    await core.end()


# ------------------------------------------------------------------- what a probe leads to


def test_a_probe_that_is_not_delivered_is_never_retried() -> None:
    rules = Rules(Qos.AT_LEAST_ONCE, RetryPolicy(max_elapsed_seconds=1.0), Interrupt(), has_dead_letters=True)
    assert decide_probe(rules, Delivered(200)) == Settle()
    busy: list[Outcome] = [ServerError(500), Rejected(429)]
    assert {decide_probe(rules, outcome) for outcome in busy} == {Stop("server-error")}
    assert decide_probe(rules, UNREACHED) == Stop("exception")
    assert decide_probe(rules, TokenUnavailable("x")) == Stop("token-unavailable")
    assert decide_probe(rules, Rejected(400)) == DeadLetter("rejected")
    assert decide_probe(rules, Rejected(410)) == DeadLetter("rejected")
    assert decide_probe(replace(rules, has_dead_letters=False), Rejected(410)) == Stop("gone")
    assert decide_probe(rules, TokenRefused("x")) == Stop("token")
    assert decide_probe(rules, Rejected(401, token_used=True)) == Retry(0.0, renew_token=True)


@in_virtual_time
async def test_a_rejected_probe_is_dead_lettered_and_others_continue() -> None:
    core = await failed(Core(probed(), dead_letters=True))
    await probe(core)
    await core.answer(0, Rejected(400))
    core.letters.answer(0, is_taken=True)
    await settle()
    await core.land()
    await core.read()
    assert (core.pending, core.lane().status) == ([1], Status.STARTED)
    await core.end()


@in_virtual_time
async def test_an_outage_of_the_token_endpoint_is_probed() -> None:
    core = await failed(Core(probed()), TokenUnavailable("no answer"))
    cause = core.lane().cause
    assert cause is not None
    assert (cause.kind, round(next_in(core) or 0)) == ("token-unavailable", 60)
    await probe(core)
    await core.answer(0, TokenUnavailable("no answer"))
    assert core.lane().status is Status.FAILURE
    assert core.telemetry.subscription_failures == Counter({"token-unavailable": 1})

    await probe(core, 200)
    await core.answer(0)
    await settle()
    await core.land()
    await core.read()
    assert core.lane().status is Status.STARTED
    await core.end()


@in_virtual_time
async def test_a_refused_token_during_a_probe_is_another_failure() -> None:
    core = await failed(Core(probed()))
    await probe(core)
    await core.answer(0, TokenRefused("invalid_client"))
    assert core.telemetry.subscription_failures == Counter({"server-error": 1, "token": 1})
    await probe(core, 100_000)
    assert core.pending == []
    await core.end()


@in_virtual_time
async def test_a_filtered_event_is_not_sent_as_a_probe() -> None:
    core = await Core(probed(qos=Qos.AT_MOST_ONCE, filter=lambda event: event.offset not in {1, 2})).open()
    await core.stream(4)
    await core.land()
    await core.answer(0, DOWN)
    await core.land()
    await probe(core)
    await core.read()
    await core.read()
    await core.land()

    assert (core.pending, core.lane().is_probing) == ([3], True)
    await core.end()


# ------------------------------------------------------------------- many subscriptions of one host


@in_virtual_time
async def test_only_a_few_lanes_of_one_host_are_probed_at_a_time() -> None:
    names = [f"s-{number}" for number in range(6)]
    core = await Core(*(probed(name) for name in names), chance=lambda: 0.5).open()
    for name in names:
        await core.stream(1, name)
    for offset in range(6):
        await core.answer(offset, DOWN)
    await core.land()
    await probe(core)
    assert len(core.pending) == PROBES_PER_HOST
    for _ in range(6):
        for offset in core.pending:
            await core.answer(offset)
        await core.land()
        await probe(core, 30)
        assert len(core.pending) <= PROBES_PER_HOST

    assert core.telemetry.probes["recovered"] == 6
    await core.end()


@in_virtual_time
async def test_the_interval_begins_when_a_probe_has_failed() -> None:
    core = await failed(Core(probed()))
    await probe(core)
    await asyncio.sleep(30.0)
    await core.answer(0, DOWN)
    await core.land()
    assert next_in(core) == 120.0
    await core.end()


@in_virtual_time
async def test_a_probe_that_is_not_in_turn_is_made_up_for_soon() -> None:
    names = [f"s-{number}" for number in range(PROBES_PER_HOST + 1)]
    core = await Core(*(probed(name) for name in names), chance=lambda: 0.5).open()
    for offset, name in enumerate(names):
        await core.stream(1, name)
        await core.answer(offset, DOWN)
    await core.land()
    await probe(core)
    [cause] = [lane.cause for lane in map(core.lane, names) if lane.cause is not None and not lane.is_probing]
    assert cause.probes == Probes(0, cause.at + 60.0 + 30.0), "within the first interval, not after a whole one"
    await core.end()


def test_a_probe_counts_once_towards_the_limit_of_its_host() -> None:
    gate = ProbeGate()
    probes = [object() for _ in range(PROBES_PER_HOST)]
    assert all(gate.enter(each, "a") for each in probes)
    assert not gate.enter("late", "a")
    assert gate.enter("other", "b")
    gate.leave(probes[0])
    gate.leave(probes[0])
    assert gate.enter("late", "a")
    assert not gate.enter("later", "a")


def test_scheduled_probes_lie_within_the_jitter() -> None:
    policy = replace(POLICY, jitter=Jitter.AROUND)
    cause = Cause("exception", "refused", 1, 1_000.0)
    times = [scheduled(cause, policy, 1_000.0, chance).probes for chance in (0.0, 1.0)]
    assert times == [Probes(0, 1_030.0), Probes(0, 1_090.0)]
    assert scheduled(replace(cause, probes=Probes(3, 5.0)), None, 1_000.0, 0.0).probes is None
    assert taken_up(replace(cause, probes=Probes(3, None)), policy, 1_000.0, 0.0).probes == Probes(3, None)
