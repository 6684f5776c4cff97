"""Partitions are opened whole or not at all."""

from collections.abc import Sequence

import pytest

from pipeline.core.log_bounds import Break, LogBounds
from pipeline.core.subscription import Subscription
from tests.support.core import Core
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
async def test_opening_a_partition_tells_what_became_of_its_offset() -> None:
    core = Core()
    core.produce(8)
    core.committed = 4
    await core.open(LogBounds(4, 8, "a", broken=Break("retention", 1, 4)))
    assert core.telemetry.drops["retention"] == 3
    assert core.telemetry.log_breaks["retention"] == 1
    await core.end()
