"""Faults of topics: they gain partitions, or refuse writes."""

import random
from typing import Final

from tests.faults.fault import CLEAN, INTERRUPTED, Fault
from tests.faults.stage import PARTITIONS, Stage


async def partitions_added(stage: Stage, _: random.Random) -> None:
    """The source topic gets half as many partitions again."""
    stage.cluster.partitions += PARTITIONS // 2
    await stage.broker.add_partitions(stage.cluster.topic, stage.cluster.partitions)
    await stage.cluster.until_ready(*stage.workers)
    await stage.steady(3)


async def dead_letters_refused(stage: Stage, rng: random.Random) -> None:
    """The dead-letter topic refuses writes while the receiver rejects events."""
    await _reject_while_read_only(stage, f"{stage.cluster.app}-dlq", rng)


async def rows_refused(stage: Stage, rng: random.Random) -> None:
    """The topic of cursor rows refuses writes while the receiver rejects events."""
    await _reject_while_read_only(stage, f"{stage.cluster.app}.cursors", rng)


async def _reject_while_read_only(stage: Stage, topic: str, rng: random.Random) -> None:
    """One of three brokers is down. The topic needs three replicas in sync; all other topics need two."""
    leader = await stage.leader_of(topic)
    number = rng.choice([each for each in (1, 2, 3) if each != leader])
    await stage.demand_replicas(topic, 3)
    await stage.receiver.behave(name="reject", share=0.2)
    await stage.brokers.act("kill", number)
    await stage.until_in_sync(topic, 2)
    await stage.steady(8)
    await stage.brokers.act("restart", number)
    await stage.until_in_sync(topic, 3)
    await stage.demand_replicas(topic, 2)
    await stage.receiver.behave(name="ok")


async def dead_letter_cluster_down(stage: Stage, _: random.Random) -> None:
    """The separate cluster of dead letters is killed while the receiver rejects events, and restarted."""
    assert stage.dlq_brokers is not None
    await stage.receiver.behave(name="reject", share=0.2)
    await stage.dlq_brokers.act("kill", 1)
    await stage.steady(8)
    await stage.dlq_brokers.act("restart", 1)
    await stage.steady(2)
    await stage.receiver.behave(name="ok")


TOPIC_FAULTS: Final = (
    Fault("partitions-added", "partitions added to the source topic: 8 to 12", partitions_added, CLEAN, {"topics"}),
    Fault(
        "dead-letters-refused",
        "dead-letter topic: takes no writes for 8 s, with a broker down",
        dead_letters_refused,
        INTERRUPTED,
        {"topics", "receiver", "brokers"},
    ),
    Fault(
        "dead-letter-cluster",
        "dead letters' own cluster: kill -9, restart",
        dead_letter_cluster_down,
        INTERRUPTED,
        {"topics", "receiver"},
        needs={"dlq-cluster"},
    ),
    Fault(
        "rows-refused",
        "cursor rows: their topic takes no writes for 8 s, with a broker down",
        rows_refused,
        INTERRUPTED,
        {"topics", "receiver", "brokers"},
    ),
)
