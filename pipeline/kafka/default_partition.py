"""Where the events of a key are, as far as anybody but their producer can say."""

from functools import lru_cache

from aiokafka.partitioner import murmur2

_POSITIVE = 0x7FFFFFFF


def default_partition(subscription_id: str, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives to a key, of a topic with *partitions* of them."""
    return _hash(subscription_id) % partitions


@lru_cache(maxsize=131_072)  # a few microseconds each, and whoever lists a hundred thousand lists them again
def _hash(subscription_id: str) -> int:
    return int(murmur2(subscription_id.encode())) & _POSITIVE
