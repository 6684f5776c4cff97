"""After a crash, the events in the note of the last commit are not sent again, and no other event is skipped."""

from dataclasses import replace

from pipeline.core.subscription import Qos, ReplayOffset, ReplayTimestamp
from tests.support.core import Core, resumed, subscription
from tests.support.fakes import MS_PER_OFFSET
from tests.support.virtual_time import in_virtual_time


async def crashed(*, commits: bool = True) -> Core:
    """A worker that ends with event 0 in flight to a slow receiver, events 1 to 3 settled, and event 4 in flight."""
    core = await Core(subscription("slow"), subscription("s")).open()
    await core.dispatch([*core.produce(1, "slow"), *core.produce(4)])
    for offset in (1, 2, 3):
        await core.answer(offset)
    if commits:
        core.commit()
    await core.end()
    return core


async def following(core: Core) -> Core:
    """The next owner, after it has read as many events as the former owner."""
    found = await Core(before=core).open()
    await found.dispatch(found.log.read(found.committed, 100))
    return found


async def sent_of_s(core: Core) -> list[int]:
    """Answer all requests of subscription `s`, and return the offsets of their events."""
    sent = []
    while pending := [offset for offset in core.pending if offset]:
        sent += pending
        for offset in pending:
            await core.answer(offset)
        await core.land()
        await core.read()
    return sent


@in_virtual_time
async def test_events_settled_beyond_the_committed_offset_stay_settled() -> None:
    core = await following(await crashed())
    assert core.pending == [0, 4]
    await core.end()


@in_virtual_time
async def test_events_settled_after_the_last_commit_are_sent_again() -> None:
    core = await following(await crashed(commits=False))
    assert core.pending == [0, 1]
    await core.end()


@in_virtual_time
async def test_a_changed_note_is_committed_at_the_same_offset() -> None:
    core = await Core(subscription("slow"), subscription("s")).open()
    await core.dispatch([*core.produce(1, "slow"), *core.produce(1)])
    core.commit()
    assert core.dispatcher.offsets_to_commit() == {}
    await core.answer(1)
    assert core.dispatcher.offsets_to_commit() == {0: 0}
    core.commit()
    assert core.ahead == 0b10
    assert core.dispatcher.offsets_to_commit() == {}, "without progress there is no further commit"
    await core.end()


@in_virtual_time
async def test_a_note_is_still_valid_after_a_second_crash() -> None:
    second = await Core(before=await crashed()).open()
    second.commit()
    assert second.ahead == 0b1110, "no event was read yet"
    await second.dispatch(second.log.read(0, 2))
    second.commit()
    await second.end()
    third = await following(second)
    assert third.pending == [0, 4]
    await third.answer(0)
    third.commit()
    assert (third.committed, third.ahead) == (4, 0)
    await third.end()


@in_virtual_time
async def test_a_clean_stop_writes_a_row_for_skipped_events() -> None:
    core = await following(await crashed())
    await core.stop()
    core.ahead = 0  # as after a commit without a note, which a worker makes if the broker accepts none
    last = await following(core)
    assert last.pending == [0, 4]
    await last.end()


@in_virtual_time
async def test_an_event_kept_by_a_row_is_not_noted_as_settled() -> None:
    core = await Core(subscription("slow"), subscription("s")).open()
    await core.dispatch([*core.produce(1, "slow"), *core.produce(2)])
    core.lane().go_behind()
    await core.land()
    core.commit()
    assert core.ahead == 0
    await core.end()


@in_virtual_time
async def test_a_replay_before_a_restart_sends_noted_events_too() -> None:
    core = await crashed()
    core.publish(replace(subscription("s"), resume_from=ReplayOffset(0, 2)))
    found = await following(core)
    assert await sent_of_s(found) == [1, 2, 3, 4]
    await found.end()


@in_virtual_time
async def test_an_unfinished_replay_by_time_sends_noted_events_too() -> None:
    core = await crashed()
    core.publish(replace(subscription("s"), resume_from=ReplayTimestamp(1 * MS_PER_OFFSET)))
    found = await following(core)
    assert await sent_of_s(found) == [1, 2, 3, 4]
    await found.end()


@in_virtual_time
async def test_a_replay_sends_noted_events_after_a_second_crash() -> None:
    core = await crashed()
    core.publish(replace(subscription("s"), resume_from=ReplayOffset(0, 2)))
    second = await Core(before=core).open()
    await second.land()
    second.publish(resumed(subscription("s")))
    second.hear()
    second.commit()
    await second.checkpoint()
    await second.land()
    await second.end()
    assert second.ahead == 0b1110
    third = await following(second)
    assert await sent_of_s(third) == [1, 2, 3, 4]
    await third.end()


@in_virtual_time
async def test_after_a_crash_only_unsettled_concurrent_events_are_sent() -> None:
    core = await Core(subscription("s", Qos.AUTO)).open()
    await core.stream(4)
    for offset in (1, 3):
        await core.answer(offset)
    core.commit()
    await core.end()
    found = await following(core)
    assert found.pending == [0, 2]
    await found.end()


@in_virtual_time
async def test_events_read_from_the_log_are_in_the_note_too() -> None:
    core = await Core(subscription("slow"), subscription("s")).open()
    await core.dispatch([*core.produce(1), *core.produce(1, "slow"), *core.produce(2)])
    core.lane().go_behind()
    await core.land()
    core.commit()
    await core.answer(0)
    await core.read()
    for offset in (2, 3):
        await core.answer(offset)
    await core.stream(1)
    await core.answer(4)
    await core.checkpoint()
    await core.land()
    assert core.row_topic.rows == {}, "the committed offset is later than the row"
    core.commit()
    await core.end()

    found = await following(core)
    assert found.pending == [1], "if 2 and 3 were sent again, but not 4, the last event of the receiver would be 3"
    await found.end()
