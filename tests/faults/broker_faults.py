"""Faults of brokers: killed, paused, restarted, with a full disk; leaders and coordinators that are unavailable."""

import random
from typing import Final

from pipeline.core.subscription import Qos
from pipeline.subscriptions.edits import RESUME
from tests.faults.disk import full
from tests.faults.fault import INTERRUPTED, Fault
from tests.faults.stage import SUBSCRIPTIONS, Stage


async def broker_killed(stage: Stage, rng: random.Random) -> None:
    """A broker is killed, and started again with its data after some seconds."""
    number = rng.randint(1, 3)
    await stage.brokers.act("kill", number)
    await stage.steady(8)
    await stage.brokers.act("restart", number)
    await stage.steady(3)


async def broker_paused(stage: Stage, rng: random.Random) -> None:
    """A broker is paused for longer than its session with the controller."""
    await _pause(stage, rng.randint(1, 3))


async def _pause(stage: Stage, number: int) -> None:
    await stage.brokers.act("pause", number)
    await stage.steady(8)
    await stage.brokers.act("resume", number)
    await stage.steady(3)


async def brokers_restarted(stage: Stage, _: random.Random) -> None:
    """All three brokers are restarted, one after another."""
    for number in (1, 2, 3):
        await stage.brokers.act("kill", number)
        await stage.brokers.act("restart", number)
        await stage.steady(5)


async def leader_moved(stage: Stage, rng: random.Random) -> None:
    """The leaders on one broker move to other brokers, and back to the preferred one."""
    await broker_killed(stage, rng)
    await stage.elect_preferred()
    await stage.steady(3)


async def coordinator_paused(stage: Stage, _: random.Random) -> None:
    """The broker that coordinates the group is paused."""
    await _pause(stage, await stage.coordinator())


async def registry_paused(stage: Stage, _: random.Random) -> None:
    """The leader of the subscriptions' topic is paused. Afterwards, a subscription is edited."""
    await _pause(stage, await stage.leader_of(f"{stage.cluster.app}.subscriptions"))
    await stage.cluster.store.edit(SUBSCRIPTIONS[Qos.AT_LEAST_ONCE][0], RESUME)


async def disk_full(stage: Stage, _: random.Random) -> None:
    """The disk of the brokers is filled, which ends them. Then space is freed, and they are started."""
    with full(stage.brokers.folder):
        await stage.steady(8)
    await stage.brokers.mend()
    await stage.steady(5)


BROKER_FAULTS: Final = (
    Fault("broker-killed", "a broker: kill -9, restart", broker_killed, INTERRUPTED, {"brokers"}),
    Fault("broker-paused", "a broker: paused for 8 s", broker_paused, INTERRUPTED, {"brokers"}),
    Fault(
        "brokers-restarted",
        "brokers: rolling restart of all three",
        brokers_restarted,
        INTERRUPTED + INTERRUPTED + INTERRUPTED,
        {"brokers"},
    ),
    Fault("leader-moved", "leaders moved away and back", leader_moved, INTERRUPTED, {"brokers"}),
    Fault(
        "coordinator-paused", "the group's coordinator: paused for 8 s", coordinator_paused, INTERRUPTED, {"brokers"}
    ),
    Fault(
        "registry-paused",
        "the leader of the subscriptions' topic: paused for 8 s",
        registry_paused,
        INTERRUPTED,
        {"brokers"},
    ),
    Fault(
        "disk-full", "the brokers' disk: full for 8 s, restart", disk_full, INTERRUPTED, {"brokers"}, needs={"tmpfs"}
    ),
)
