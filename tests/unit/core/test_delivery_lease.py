"""A worker without a lease sends no event, claims none, and loses none."""

import asyncio
from dataclasses import replace

from pipeline.core.errors import LeaseEndedError
from pipeline.core.outcome import Failed, Rejected, ServerError
from pipeline.core.subscription import Qos, Skip
from pipeline.web.health import not_live_reasons
from tests.support.core import Core, paused, reporter_of, resumed, subscription
from tests.support.virtual_time import in_virtual_time, settle

AT_MOST_ONCE = subscription(qos=Qos.AT_MOST_ONCE)


@in_virtual_time
async def test_waiting_for_the_lease_uses_no_attempt_and_no_slot() -> None:
    for qos in (Qos.NONE, Qos.AUTO, Qos.AT_LEAST_ONCE):
        core = await Core(subscription(qos=qos)).open()
        core.lease.end()
        await core.stream(1)
        assert core.send.made == []
        assert core.slots.taken == 0
        assert core.telemetry.withheld_attempts == 1

        core.lease.confirm()
        await settle()
        assert [(attempt.offset, attempt.number) for attempt in core.send.made] == [(0, 1)]
        await core.end()


@in_virtual_time
async def test_no_event_is_sent_if_the_last_heartbeat_is_too_old() -> None:
    core = await Core(subscription()).open()
    core.lease.end()
    await core.stream(1)
    core.lease.renew(core.lease.seconds - 15.0)
    await settle()
    assert core.send.made == []
    await core.end()


@in_virtual_time
async def test_an_attempt_stopped_by_a_lost_lease_does_not_count() -> None:
    core = await Core(subscription()).open()
    core.send.script = [ServerError(500), LeaseEndedError("just now")]
    await core.stream(1)
    await asyncio.sleep(1.1)
    # The lease is held again, so the attempt is repeated without a wait.
    assert [attempt.number for attempt in core.send.made] == [1, 2, 2]
    assert core.telemetry.in_flight == 1
    await core.end()


@in_virtual_time
async def test_the_end_of_the_lease_cancels_no_running_request() -> None:
    core = await Core(subscription()).open()
    await core.stream(2)
    core.lease.end()
    await core.answer(0)
    assert core.committable == 1
    assert core.pending == []
    await core.end()


@in_virtual_time
async def test_a_pause_or_a_drain_ends_the_wait_for_the_lease() -> None:
    core = await Core(subscription()).open()
    core.lease.end()
    await core.stream(2)
    await core.revise(paused(subscription()))
    await core.land()
    assert core.lane().events.in_flight == {}

    await core.revise(resumed(subscription()))
    await core.read()
    assert [*core.lane().events.in_flight] == [0]
    await core.stop()

    following = await Core(before=core).open()
    await following.read()
    assert following.pending == [0]
    await following.end()


@in_virtual_time
async def test_a_worker_without_a_lease_is_live_but_not_ready() -> None:
    core = await Core(subscription()).open()
    reporter = reporter_of(core)
    await core.stream(1)
    assert reporter.worker().ready
    core.lease.end()

    report = reporter.worker()
    assert (
        report.problem == "sending is paused until the group's coordinator confirms a heartbeat: Kafka does not answer"
    )
    await asyncio.sleep(3600.0)
    assert not not_live_reasons(reporter.worker())
    core.lease.confirm()
    assert reporter.worker().ready
    assert not_live_reasons(reporter.worker())
    await core.end()


# ------------------------------------------------------------------- at-most-once


@in_virtual_time
async def test_nothing_is_claimed_without_the_lease() -> None:
    core = await Core(AT_MOST_ONCE).open()
    core.lease.end()
    await core.stream(1)
    assert core.rows.pending == []
    await core.end()


async def claimed_without_lease() -> Core:
    """The lease ends while the row of a claim is being written."""
    core = await Core(AT_MOST_ONCE).open()
    await core.stream(2)
    core.lease.end()
    await core.land()
    assert core.send.made == []
    return core


@in_virtual_time
async def test_a_claimed_event_is_sent_after_the_next_heartbeat() -> None:
    core = await claimed_without_lease()
    core.lease.confirm()
    await settle()
    await core.land()
    assert core.pending == [0]
    assert core.row_topic.rows[b"s"].next == 1
    await core.end()


@in_virtual_time
async def test_a_clean_revoke_hands_back_an_unsent_claimed_event() -> None:
    core = await claimed_without_lease()
    stopping = asyncio.create_task(core.stop())
    await settle()
    await core.land()
    await stopping
    assert core.row_topic.rows[b"s"].next == 0
    assert core.telemetry.drops["given-up"] == 0

    following = await Core(before=core).open()
    await following.dispatch(following.log.read(following.committed, 10))
    await following.read()
    await following.land()
    assert following.pending == [0]
    await following.end()


@in_virtual_time
async def test_a_former_owner_does_not_send_a_claimed_event() -> None:
    core = await claimed_without_lease()
    following = await Core(before=core).open()
    core.lane()._rows.write(core.lane().key)
    await core.land()

    assert core.dispatcher.partitions() == []
    assert core.send.made == []
    assert core.telemetry.drops["given-up"] == 1
    await following.end()


@in_virtual_time
async def test_a_handed_back_claim_that_the_next_owner_skips_counts() -> None:
    core = await claimed_without_lease()
    following = await Core(before=core).open()
    stopping = asyncio.create_task(core.stop())
    await settle()
    await core.land()
    await stopping
    assert core.send.made == []
    assert core.telemetry.drops["given-up"] == 1
    await following.end()


@in_virtual_time
async def test_an_unsent_claim_that_the_next_owner_skips_counts() -> None:
    core = await Core(AT_MOST_ONCE).open()
    await core.stream(1)
    await core.land()
    await core.answer(0, Failed("connection refused", may_have_arrived=False))
    following = await Core(before=core).open()
    await core.checkpoint()
    await core.land()
    assert core.dispatcher.partitions() == []
    assert core.telemetry.drops["given-up"] == 1
    await following.end()


@in_virtual_time
async def test_an_event_handed_back_by_a_durable_row_is_not_given_up() -> None:
    core = await claimed_without_lease()
    await core.checkpoint()
    await core.land()
    assert core.row_topic.rows[b"s"].next == 0
    following = await Core(before=core).open()
    core.lane()._rows.write(core.lane().key)
    await core.land()
    assert core.dispatcher.partitions() == []
    assert core.telemetry.drops["given-up"] == 0
    await following.end()


@in_virtual_time
async def test_a_handed_back_event_can_be_skipped() -> None:
    core = await claimed_without_lease()
    assert core.lane().next == 0
    await core.revise(replace(AT_MOST_ONCE, resume_from=Skip(0, 0)))
    await core.land()
    core.lease.confirm()
    await settle()
    await core.read()
    await core.land()
    assert core.pending == [1]
    assert core.telemetry.drops["given-up"] == 0
    await core.end()


@in_virtual_time
async def test_a_worker_whose_claim_is_refused_leaves_it_to_the_owner() -> None:
    core = await Core(AT_MOST_ONCE).open()
    await core.stream(1)
    following = await Core(before=core).open()
    await core.land()

    assert core.dispatcher.partitions() == []
    assert core.telemetry.drops["given-up"] == 0
    await following.end()


# ------------------------------------------------------------------- dead letters


@in_virtual_time
async def test_a_dead_letter_waits_for_the_lease() -> None:
    core = await Core(subscription(), dead_letters=True).open()
    await core.stream(1)
    core.lease.end()
    await core.answer(0, Rejected(400))
    assert core.letters.pending == []

    core.lease.confirm()
    await settle()
    assert len(core.letters.pending) == 1
    await core.end()


@in_virtual_time
async def test_a_skipped_event_becomes_no_dead_letter_afterwards() -> None:
    core = await Core(subscription(), dead_letters=True).open()
    await core.stream(1)
    core.lease.end()
    await core.answer(0, Rejected(400))
    core.publish(replace(subscription(), resume_from=Skip(0, 0)))
    core.hear()
    core.lease.confirm()  # in the same moment
    await settle()
    assert core.telemetry.deliveries["skipped"] == 1
    assert core.letters.pending == []
    await core.end()


@in_virtual_time
async def test_a_revoked_partition_leaves_dead_letters_to_its_owner() -> None:
    for qos, given_up in ((Qos.AT_LEAST_ONCE, 0), (Qos.AT_MOST_ONCE, 1)):
        core = await Core(replace(AT_MOST_ONCE, qos=qos), dead_letters=True).open()
        await core.stream(1)
        await core.land()
        core.lease.end()
        await core.answer(0, Rejected(400))
        await core.stop()
        assert core.letters.pending == []
        assert core.telemetry.drops["given-up"] == given_up
        following = await Core(before=core).open()
        await following.dispatch(following.log.read(0, 10))
        assert len(following.pending) == 1 - given_up, "at-most-once can't send it again"
        await following.end()
