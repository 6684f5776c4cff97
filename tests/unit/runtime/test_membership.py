"""When a worker rejoins the group because Kafka has fenced partitions, and when it gives up."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from pipeline.core.clock import steady_now
from pipeline.core.sources import TopicPartition
from pipeline.runtime import membership
from pipeline.runtime.consumer_thread import DeliveryRebalanceListener
from pipeline.runtime.membership import HOPELESS_SECONDS, JOIN_PAUSE_SECONDS, Membership
from tests.support.virtual_time import in_virtual_time

FENCED = TopicPartition("events", 3)


@dataclass
class _Group:
    is_out_of_reach: bool = False
    asked_at: list[float] = field(default_factory=list)

    def rejoin(self) -> None:
        self.asked_at.append(steady_now())


async def watched(owned: Membership, seconds: float) -> bool:
    """Check once a second for *seconds*. Returns False if the worker has given up."""
    end = steady_now() + seconds
    hope = owned.rejoin_if_fenced()
    while hope and steady_now() < end:
        await asyncio.sleep(membership.CHECK_SECONDS)
        hope = owned.rejoin_if_fenced()
    return hope


@in_virtual_time
async def test_no_worker_rejoins_unless_a_partition_is_fenced() -> None:
    group = _Group()
    assert await watched(Membership(list, group), 2 * HOPELESS_SECONDS)
    assert group.asked_at == []


@in_virtual_time
async def test_the_first_rejoin_is_immediate_and_the_next_one_waits() -> None:
    group, fenced, began = _Group(), [FENCED], steady_now()
    owned = Membership(lambda: fenced, group)
    assert await watched(owned, 1.0)
    fenced.clear()  # the fenced partitions were given back
    assert await watched(owned, 2.0)
    fenced.append(FENCED)  # a partition was opened, and fenced again
    assert await watched(owned, JOIN_PAUSE_SECONDS)
    assert [moment - began for moment in group.asked_at] == [0.0, JOIN_PAUSE_SECONDS]


@in_virtual_time
async def test_the_worker_waits_while_the_coordinator_is_unavailable() -> None:
    group = _Group(is_out_of_reach=True)
    owned = Membership(lambda: [FENCED], group)
    assert await watched(owned, 10 * HOPELESS_SECONDS)
    group.is_out_of_reach = False
    assert await watched(owned, HOPELESS_SECONDS - 2 * membership.CHECK_SECONDS), (
        "giving the partitions back may take long"
    )
    assert not await watched(owned, HOPELESS_SECONDS)


@in_virtual_time
async def test_a_successful_rejoin_restarts_the_time_limit() -> None:
    group, fenced = _Group(), [FENCED]
    owned = Membership(lambda: fenced, group)
    for _ in range(5):
        assert await watched(owned, HOPELESS_SECONDS / 2)
        fenced.clear()
        assert await watched(owned, 1.0)
        fenced.append(FENCED)


class _Thread:
    """The part of the consumer's thread that the rebalance listener uses. Kafka's generation never changes."""

    def __init__(self) -> None:
        self.app = self
        self.consumer_generation_id = 0
        self.told: list[int] = []

    async def on_partitions_assigned(self, _: object, generation: int) -> None:
        assert generation == self.consumer_generation_id
        self.told.append(generation)

    def _ensure_consumer(self) -> object:
        return self

    @property
    def _coordinator(self) -> object:
        return self

    generation = 7


@in_virtual_time
async def test_every_assignment_is_a_new_generation() -> None:
    thread = _Thread()
    listener = DeliveryRebalanceListener(cast("Any", thread))
    await listener.on_partitions_assigned([])
    await listener.on_partitions_assigned([])
    assert len(set(thread.told)) == 2
