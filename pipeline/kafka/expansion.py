"""Partition expansion: a source topic gains partitions while workers run, and the pipeline's topics follow.

    source grows ─▶ every worker sees it: grow <app>.cursors, then the changelogs ─▶ refresh the clients' metadata
                 ─▶ the group's leader sees the new partitions of all topics ─▶ one rebalance (runtime/assignor.py)
                 ─▶ the new partitions are opened

No restart is needed, because everything that belongs to a partition is created when the partition is opened. A worker
may be killed at any step without harm, because of two rules:

- A new partition of the source is assigned only when the changelogs have it too (runtime/assignor.py). The changelogs
  are expanded last, so `<app>.cursors` already has the partition for the new owner's rows.
- The group's initial offsets are committed before the first member joins (runtime/initial_offsets.py). So a partition
  without a committed offset is new, and is delivered from its beginning with any `autoOffsetReset`.

All workers do this at the same time, and the broker refuses all requests except the first. A starting worker expands
its topics too (runtime/topics.py).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import InvalidPartitionsError, KafkaError

from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import Partitions, administration, find_partitions, partition_counts, until_led
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of
from pipeline.kafka.topic_ids import find_topic_id

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0


class TopicClients(Protocol):
    """This worker's Kafka clients, whose metadata must follow changes of the source topics (runtime/application.py)."""

    async def learn_partitions(self, counts: Mapping[str, int]) -> None:
        """Refresh the clients' metadata, if it has fewer partitions of a source topic."""

    def learn_topic_id(self, topic: str, topic_id: str | None) -> None:
        """Store the current id of a source topic; None if the brokers have no topic ids."""


class PartitionExpansion:
    """Gives the pipeline's own topics as many partitions as the largest source topic. Logs missing leaders.

    Args:
        own: topics that need as many partitions as the largest source topic, in the order in which to add partitions.
        clients: get the new numbers of partitions.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        sources: Sequence[str],
        own: Sequence[str],
        clients: TopicClients,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._sources = sources
        self._own = own
        self._clients = clients
        self._clock = clock
        self._known: Mapping[str, int] = {}
        self._reported: Sequence[str] = ()

    async def watch(self) -> None:
        """Check repeatedly until cancelled. Failures are retried."""
        while True:
            try:
                async with administration(self._connection) as admin:
                    while True:
                        await self._look(admin)
                        await self._clock.sleep(LOOK_SECONDS)
            except BrokerError as error:
                self._report([f"can't look for new partitions of {', '.join(self._sources)}: {error}"])
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self, admin: AIOKafkaAdminClient) -> None:
        found = await find_partitions(admin, [*self._sources, *self._own])
        counts = {name: found[name].count for name in self._sources if name in found}
        if not counts:
            return  # deleted, and not recreated yet
        for name in counts:
            # If a topic was recreated and already has many events, perhaps no fetch is out of range. So the id has to
            # be compared.
            self._clients.learn_topic_id(name, await find_topic_id(client_of(admin), name))
        problems = await self._grow_own(admin, found, max(counts.values()))
        if problems:
            return
        known, self._known = self._known, counts
        if not known:
            return  # the first check: the clients are about to join, and then read the numbers themselves
        for name, count in counts.items():
            if known.get(name, count) < count:
                logger.info(
                    "topic %s: now has %d partitions, %d before; delivering the new ones", name, count, known[name]
                )
        await self._clients.learn_partitions(counts)

    async def _grow_own(self, admin: AIOKafkaAdminClient, found: Mapping[str, Partitions], most: int) -> list[str]:
        """Give the pipeline's own topics as many partitions as the largest source has.

        Returns the problems that prevent it.
        """
        small = [name for name in self._own if name in found and found[name].count < most]
        problems = await grow(admin, dict.fromkeys(small, most))
        waiting = "new partitions of the source topic are not delivered until this topic has them"
        late = [f"{each}; {waiting}" for each in problems]
        self._report(late + [trouble for name, each in found.items() for trouble in each.troubles(name)])
        return problems

    def _report(self, problems: Sequence[str]) -> None:
        """Log each problem once, when it appears."""
        for problem in problems:
            if problem not in self._reported:
                logger.error("%s", problem)
        self._reported = problems


async def grow(admin: AIOKafkaAdminClient, wanted: Mapping[str, int], *, validate_only: bool = False) -> list[str]:
    """Add partitions to topics, one topic after the other. Stops at the first topic that the brokers refuse.

    Args:
        admin: a connected client.
        wanted: how many partitions each topic needs at least.
        validate_only: only ask whether the brokers would add the partitions.

    Returns:
        Empty, or one sentence that begins with the refused topic.

    Raises:
        BrokerError: new partitions get no leaders.
    """
    before = await partition_counts(admin, wanted) if wanted else {}
    for name, count in wanted.items():
        # Wait only for the new partitions. Old ones may have no leader for a long time.
        new = {name: range(before.get(name, 0), count)}
        try:
            await admin.create_partitions({name: NewPartitions(count)}, validate_only=validate_only)
        except KafkaError as error:
            # Usually another worker was faster, and this broker does not know the new partitions yet.
            if not (isinstance(error, InvalidPartitionsError) and await _get_leaders(admin, new)):
                return [_refused(name, count, error)]
        else:
            if not validate_only:
                logger.info("topic %s: now has %d partitions, as many as its source", name, count)
        if not validate_only:
            await until_led(admin, new)
    return []


async def _get_leaders(admin: AIOKafkaAdminClient, partitions: Mapping[str, range]) -> bool:
    try:
        await until_led(admin, partitions)
    except BrokerError:
        return False
    return True


def _refused(name: str, count: int, error: KafkaError) -> str:
    return f"topic {name}: must have {count} partitions, as many as its source, but they can't be added: {error}"
