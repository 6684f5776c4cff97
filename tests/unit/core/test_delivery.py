"""The path of one event: slot, claim, attempt, decision; dead letters and access tokens."""

import asyncio
from dataclasses import replace

import pytest

from pipeline.core.model import Status
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError, TokenRefused, TokenUnavailable
from pipeline.core.subscription import Qos
from tests.support.core import SLOW, Core, subscription
from tests.support.virtual_time import in_virtual_time, settle

REFUSED = Failed("connection refused", may_have_arrived=False)
BROKEN = Failed("broken off", may_have_arrived=True)
SILENT = Failed("timed out", may_have_arrived=True, timed_out=True)


# ------------------------------------------------------------------- at-least-once


@in_virtual_time
async def test_events_of_a_lane_are_sent_one_at_a_time_and_in_order() -> None:
    core = await Core(subscription()).open()
    await core.stream(3)
    for offset in range(3):
        assert core.pending == [offset]
        await core.answer(offset, Delivered(204))

    assert core.telemetry.deliveries["delivered"] == 3
    assert core.lane().events.progress.row is None, "a live lane needs no row"
    await core.end()


@in_virtual_time
async def test_a_retry_waits_for_its_delay_and_counts_the_attempt() -> None:
    core = await Core(subscription()).open()
    await core.stream(2)
    await core.answer(0, BROKEN)
    await asyncio.sleep(0.9)
    assert core.pending == []
    await asyncio.sleep(0.2)
    assert [(attempt.offset, attempt.number) for attempt in core.send.made] == [(0, 1), (0, 2)]
    await core.answer(0)

    assert core.pending == [1]
    assert core.send.made[-1].number == 1
    await core.end()


@in_virtual_time
async def test_a_lane_without_retries_left_stops_and_keeps_the_event() -> None:
    core = await Core(subscription()).open()
    await core.stream(2)
    for _ in range(3):
        await core.answer(0, ServerError(500))
        await asyncio.sleep(4.1)
    await core.land()

    cause = core.lane().cause
    assert cause is not None
    assert (cause.kind, cause.offset, cause.message) == ("server-error", 0, "the callback answered 500")
    assert core.row_topic.rows[b"s"].next == 0
    assert core.committable == 2, "the failed lane holds up no other lane"
    assert len(core.send.made) == 3
    await core.end()


@in_virtual_time
async def test_a_401_is_retried_once_immediately_with_a_fresh_token() -> None:
    core = await Core(subscription()).open()
    await core.stream(1)
    await core.answer(0, Rejected(401, token_used=True))
    assert [attempt.renew_token for attempt in core.send.made] == [False, True]
    await core.answer(0, Rejected(401, token_used=True))

    assert core.lane().status is Status.FAILURE
    assert len(core.send.made) == 2
    await core.end()


@in_virtual_time
async def test_refused_credentials_stop_the_lane_without_a_dead_letter() -> None:
    core = await Core(subscription(), dead_letters=True).open()
    await core.stream(1)
    await core.answer(0, TokenRefused("invalid_client"))

    cause = core.lane().cause
    assert cause is not None
    assert (cause.kind, cause.message) == ("token", "token endpoint refused: invalid_client")
    assert core.letters.pending == []
    await core.end()


# ------------------------------------------------------------------- dead letters


@in_virtual_time
async def test_an_unconfirmed_dead_letter_holds_up_only_its_lane() -> None:
    core = await Core(subscription("s"), subscription("t"), dead_letters=True).open()
    await core.dispatch([*core.produce(2, "s"), *core.produce(1, "t")])
    await core.answer(0, Rejected(400, b"no"))
    await core.answer(2)
    assert core.pending == []
    assert core.committable == 0
    core.letters.answer(0, is_taken=True)
    await settle()

    [letter] = core.letters.confirmed
    assert (letter.reason, letter.attempts, letter.outcome) == ("rejected", 1, Rejected(400, b"no"))
    assert (letter.subscription, letter.url) == ("s", "https://receiver.example/hook")
    assert core.pending == [1]
    assert core.committable == 1
    await core.end()


@in_virtual_time
async def test_a_dead_letter_refused_for_good_stops_the_lane() -> None:
    core = await Core(subscription(), dead_letters=True).open()
    await core.stream(1)
    await core.answer(0, Rejected(400))
    core.letters.answer(0, is_taken=False)
    await settle()
    await core.land()

    cause = core.lane().cause
    assert cause is not None
    assert cause.kind == "dead-letter"
    assert core.row_topic.rows[b"s"].next == 0
    await core.end()


@pytest.mark.parametrize("key", ["nobody", b"\xff\xfe", None], ids=["unknown", "no utf-8", "no key"])
@in_virtual_time
async def test_an_event_without_a_subscription_is_dead_lettered(key: str | bytes | None) -> None:
    core = await Core(dead_letters=True).open()
    record = core.log.append(key.encode() if isinstance(key, str) else key)
    await core.dispatch([record])
    [(letter, _)] = core.letters.pending
    assert letter.reason == ("unknown-subscription" if key == "nobody" else "undecodable")
    assert core.committable == 0
    core.letters.answer(0, is_taken=True)
    await settle()

    assert core.send.made == []
    assert core.committable == 1
    await core.end()


@in_virtual_time
async def test_without_dead_letters_unknown_events_are_dropped() -> None:
    core = await Core().open()
    await core.stream(2, "nobody")

    assert core.telemetry.drops["unknown-subscription"] == 2
    assert core.committable == 2
    await core.end()


@in_virtual_time
async def test_an_event_waits_for_a_subscription_just_created() -> None:
    core = await Core(dead_letters=True).open()
    core.publish(subscription())
    await core.stream(1)
    assert core.letters.pending == []
    core.hear()
    await settle()

    assert core.pending == [0]
    await core.answer(0)
    assert core.committable == 1
    await core.end()


# ------------------------------------------------------------------- at-most-once


@in_virtual_time
async def test_at_most_once_sends_only_when_its_row_is_durable() -> None:
    core = await Core(subscription(qos=Qos.AT_MOST_ONCE)).open()
    await core.stream(2)
    assert core.pending == []
    await core.land()

    assert core.pending == [0]
    assert core.row_topic.rows[b"s"].next == 1
    assert core.committable == 1, "settled before it is sent"
    await core.end()


@pytest.mark.parametrize("outcome", [ServerError(500), BROKEN, Rejected(429, b"", 1.0), Rejected(400)], ids=str)
@in_virtual_time
async def test_at_most_once_repeats_nothing_that_may_have_arrived(outcome: Outcome) -> None:
    core = await Core(subscription(qos=Qos.AT_MOST_ONCE)).open()
    await core.stream(2)
    await core.land()
    await core.answer(0, outcome)
    await core.land()
    await asyncio.sleep(100.0)

    assert core.send.offsets() == [0]
    assert core.lane().status is Status.FAILURE
    assert core.row_topic.rows[b"s"].next == 1, "a resume continues with the next event"
    assert core.telemetry.drops["given-up"] == 1
    await core.end()


@pytest.mark.parametrize("outcome", [REFUSED, TokenUnavailable("503")], ids=str)
@in_virtual_time
async def test_at_most_once_retries_an_unsent_event_with_a_new_claim(outcome: Outcome) -> None:
    core = await Core(subscription(qos=Qos.AT_MOST_ONCE)).open()
    await core.stream(1)
    await core.land()
    await core.answer(0, outcome)
    await core.checkpoint()
    await core.land()
    assert core.row_topic.rows[b"s"].next == 0, "the claim is handed back"
    await asyncio.sleep(1.1)
    assert core.send.offsets() == [0]
    await core.land()

    assert core.send.offsets() == [0, 0]
    assert core.row_topic.rows[b"s"].next == 1
    await core.end()


@in_virtual_time
async def test_claims_of_several_lanes_are_made_durable_together() -> None:
    core = await Core(*(subscription(name, qos=Qos.AT_MOST_ONCE) for name in "abc")).open()
    await core.dispatch([*core.produce(1, "a"), *core.produce(1, "b"), *core.produce(1, "c")])
    assert len(core.rows.pending) == 3
    await core.land()

    assert core.pending == [0, 1, 2]
    await core.end()


# ------------------------------------------------------------------- none and auto


@pytest.mark.parametrize("outcome", [ServerError(500), BROKEN, SILENT, TokenRefused("x"), Rejected(400)], ids=str)
@in_virtual_time
async def test_qos_none_drops_and_counts_a_failed_event(outcome: Outcome) -> None:
    core = await Core(subscription(qos=Qos.NONE, concurrency=1)).open()
    await core.stream(2)
    assert core.committable == 2
    await core.answer(0, outcome)

    assert core.pending == [1]
    assert core.telemetry.drops["not-retried"] == 1
    assert core.lane().status is Status.STARTED
    await core.end()


@in_virtual_time
async def test_qos_none_drops_an_event_whose_dead_letter_is_refused() -> None:
    core = await Core(subscription(qos=Qos.NONE, concurrency=1), dead_letters=True).open()
    await core.stream(2)
    await core.answer(0, Rejected(400))
    core.letters.answer(0, is_taken=False)
    await settle()

    assert core.lane().status is Status.STARTED
    assert core.telemetry.drops["not-retried"] == 1
    assert core.pending == [1]
    await core.end()


@in_virtual_time
async def test_auto_sends_up_to_its_concurrency_and_commits_in_order() -> None:
    core = await Core(subscription(qos=Qos.AUTO)).open()
    await core.stream(4)
    assert core.pending == [0, 1, 2]
    await core.answer(1)
    assert core.pending == [0, 2, 3]
    assert core.committable == 0
    await core.answer(0)

    assert core.committable == 2
    await core.end()


# ------------------------------------------------------------------- slots


@in_virtual_time
async def test_silent_receivers_leave_half_of_the_slots_to_others() -> None:
    silent = [subscription(name, retry=replace(SLOW, initial_delay_seconds=1.0)) for name in "abcd"]
    core = await Core(*silent, subscription("quick"), slots=4).open()
    for name in "abcd":
        await core.stream(1, name)
    for offset in range(4):
        await core.answer(offset, SILENT)
    await asyncio.sleep(1.1)
    assert len(core.pending) == 2
    await core.stream(1, "quick")

    assert core.send.pending[-1].subscription.id == "quick"
    assert all(core.lane(name).is_suspect for name in "abcd")
    await core.end()


@in_virtual_time
async def test_an_attempt_gives_its_slot_back_however_it_ends() -> None:
    core = await Core(subscription(), slots=2).open()
    await core.stream(1)
    assert core.slots.taken == 1
    await core.answer(0, BROKEN)
    assert core.slots.taken == 0, "a wait between attempts takes no slot"
    await core.end()
    assert core.slots.taken == 0
