"""Partitions are opened whole or not at all."""

from collections.abc import Sequence

import pytest

from pipeline.core.model import Subscription
from tests.support.core import Core, subscription
from tests.support.fakes import MemoryRegistry
from tests.support.virtual_time import in_virtual_time


class BrokenRegistry(MemoryRegistry):
    """One with a fault of ours."""

    def all(self) -> Sequence[Subscription]:
        raise LookupError("a fault")


@in_virtual_time
async def test_a_fault_while_a_partition_is_opened_shows() -> None:
    core = Core()
    core.dispatcher._registry = BrokenRegistry(None)
    with pytest.raises(LookupError, match="a fault"):
        await core.open()
    assert not core.dispatcher.has_opened
    await core.end()


@in_virtual_time
async def test_a_topic_that_was_made_again_is_said(caplog: pytest.LogCaptureFixture) -> None:
    core = await Core(subscription("s")).open()
    batch = core.produce(3)
    await core.hand_out(batch)
    await core.answer(0)
    core.commit()
    await core.hand_out(batch[1:])  # read again from the committed offset, after a rebalance
    assert not caplog.records
    await core.hand_out(batch)
    assert "begins anew at 0" in caplog.text
    await core.end()
