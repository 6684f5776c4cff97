"""The stage of the fault runs: each fault affects subscriptions of every level."""

from aiokafka.partitioner import DefaultPartitioner

from pipeline.core.subscription import Qos
from tests.faults.stage import LEVEL_OF, PARTITIONS, SUBSCRIPTIONS

NUMBERS = list(range(PARTITIONS))


def test_every_partition_has_a_subscription_of_every_level() -> None:
    for qos in Qos:
        found = [DefaultPartitioner()(name.encode(), NUMBERS, NUMBERS) for name in SUBSCRIPTIONS[qos]]
        assert found == NUMBERS


def test_half_of_each_level_s_subscriptions_have_odd_numbers() -> None:
    for qos in Qos:
        odd = [name for name in SUBSCRIPTIONS[qos] if int(name.rpartition("-")[2]) % 2]
        assert len(odd) == PARTITIONS // 2


def test_no_two_subscriptions_share_a_name() -> None:
    assert len(LEVEL_OF) == len(Qos) * PARTITIONS
