"""Partitions are opened completely or not at all."""

import asyncio
from collections.abc import Sequence

import pytest

from pipeline.core.log_bounds import Break, LogBounds
from pipeline.core.model import Status
from pipeline.core.outcome import Rejected
from pipeline.core.subscription import Subscription
from tests.support.core import Core, subscription
from tests.support.fakes import ANY_LOG, MemoryRegistry
from tests.support.virtual_time import in_virtual_time, settle


class BrokenRegistry(MemoryRegistry):
    """A registry with a bug."""

    def all(self) -> Sequence[Subscription]:
        raise LookupError("a planted bug")


@in_virtual_time
async def test_a_bug_while_a_partition_opens_is_not_hidden() -> None:
    core = Core()
    core.dispatcher.registry = BrokenRegistry(None)
    with pytest.raises(LookupError, match="a planted bug"):
        await core.open()
    assert not core.dispatcher.has_opened
    await core.end()


@in_virtual_time
async def test_opening_counts_deleted_events_after_the_commit() -> None:
    core = Core()
    core.produce(8)
    core.committed = 4
    await core.open(LogBounds(4, 8, "a", commit_break=Break("retention", 1, 4)))
    assert core.telemetry.drops["retention"] == 3
    assert core.telemetry.log_breaks["retention"] == 1
    await core.end()


@pytest.mark.parametrize("matches", [False, True])
@in_virtual_time
async def test_a_row_is_kept_until_its_subscription_is_read(*, matches: bool) -> None:
    """The former owner had read more of the subscriptions' topic than this worker."""
    core = await Core(matches=matches).open()
    core.publish(subscription(created=0))
    core.hear()
    await core.stream(2)
    await core.answer(0, Rejected(400))
    await core.land()
    core.commit()
    assert core.committed == 2
    core.rows.is_dead = True

    after = Core(before=core, matches=matches)
    opening = asyncio.create_task(after.dispatcher.open({0: 2}, {0: ANY_LOG}))
    await settle()
    assert not opening.done()
    after.hear()
    await opening
    assert (after.lane().status, after.lane().next) == (Status.FAILURE, 0)
    await core.end()
    await after.end()
