"""The partition of a key, if the producer uses Kafka's default partitioner."""

from functools import lru_cache

from aiokafka.partitioner import murmur2

_POSITIVE = 0x7FFFFFFF


def default_partition(subscription_id: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives to a key in a topic with *partitions* partitions."""
    return _hash(subscription_id) % partitions


# Cached, because each key takes microseconds, and pages show 100,000 subscriptions repeatedly.
@lru_cache(maxsize=131_072)
def _hash(subscription_id: str) -> int:
    return int(murmur2(subscription_id.encode())) & _POSITIVE
