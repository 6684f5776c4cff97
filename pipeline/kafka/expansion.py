"""The source topic gains partitions while workers run: the pipeline's own topics gain them too, then the group.

    source grows ─▶ every worker sees it: grow <app>.cursors, then the changelogs ─▶ the group's clients look again
                 ─▶ its leader sees more partitions of all of them ─▶ one rebalance (runtime/assignor.py)
                 ─▶ they are opened

Growing in place, and no restart, because nothing in a worker depends on the number: what it has per partition is made
when a partition is opened. It is safe at any moment of it, whoever dies, because of two rules:

- A partition of the source is assigned only when all topics of the group have it (runtime/assignor.py), and the
  changelogs grow last: so who is assigned a partition finds the place of its rows.
- Where the group begins is fixed before anybody is in it (runtime/initial_offsets.py): so a partition without a
  committed offset is a new one and is delivered from its beginning, whatever `autoOffsetReset` says.

All workers do the same at the same time; the broker refuses all but the first. A worker that starts does it, too
(runtime/topics.py).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import InvalidPartitionsError, KafkaError

from pipeline.core.clock import Clock
from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration, partition_counts, until_led
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import client_of
from pipeline.kafka.topic_ids import find_topic_id

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0


class TopicClients(Protocol):
    """What this worker's clients know of the source topic (runtime/consumer.py)."""

    async def learn_partitions(self, count: int) -> None:
        """See to it that its clients know of so many partitions; no news if they do."""
        ...

    def learn_topic_id(self, topic_id: str | None) -> None:
        """The source topic has this id now; None if no broker tells."""
        ...


class Growth:
    """Looks for new partitions of the source topic.

    Args:
        connection: of the source's cluster.
        source: the source topic.
        own: topics with as many partitions as the source, in the order in which they have to grow.
        group: told when they have.
        clock: for the pause between two looks.
    """

    def __init__(
        self, connection: KafkaConnection, source: str, own: Sequence[str], group: TopicClients, clock: Clock
    ) -> None:
        self._connection = connection
        self._source = source
        self._own = own
        self._group = group
        self._clock = clock
        self._known = 0
        self._said: Sequence[str] = ()

    async def watch(self) -> None:
        """Run for ever: look, and try again what did not succeed."""
        while True:
            try:
                async with administration(self._connection) as admin:
                    while True:
                        await self._look(admin)
                        await self._clock.sleep(LOOK_SECONDS)
            except BrokerError as error:
                self._say([f"new partitions of {self._source} can't be looked for: {error}"])
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self, admin: AIOKafkaAdminClient) -> None:
        counts = await partition_counts(admin, [self._source, *self._own])
        count = counts.get(self._source)
        if count is None:
            return  # some partition has no leader at the moment
        # Deleted and made again in between, it may be too long already for a fetch to be out of range.
        self._group.learn_topic_id(await find_topic_id(client_of(admin), self._source))
        small = [name for name in self._own if counts.get(name, count) < count]
        problems = await grow(admin, dict.fromkeys(small, count))
        self._say(
            [f"{each}; new partitions of {self._source} are not delivered until it has them" for each in problems]
        )
        if problems:
            return
        if not self._known:
            self._known = count
            return  # the group is being joined
        if self._known < count:
            logger.info(
                "topic %s: now has %d partitions, %d before; delivering the new ones",
                self._source,
                count,
                self._known,
            )
        self._known = count
        await self._group.learn_partitions(count)

    def _say(self, problems: Sequence[str]) -> None:
        """Log what is wrong, once for as long as it stays so."""
        for problem in problems:
            if problem not in self._said:
                logger.error("%s", problem)
        self._said = problems


async def grow(admin: AIOKafkaAdminClient, wanted: Mapping[str, int], *, validate_only: bool = False) -> list[str]:
    """Give topics more partitions, one after the other, and stop where one can't have them.

    Args:
        admin: connected.
        wanted: how many partitions each has to have at least.
        validate_only: only ask whether it would be possible.

    Returns:
        One sentence, beginning with the topic, if one can't have them.

    Raises:
        BrokerError: new partitions get no leaders.
    """
    for name, count in wanted.items():
        try:
            await admin.create_partitions({name: NewPartitions(count)}, validate_only=validate_only)
        except InvalidPartitionsError as error:
            # Another worker was faster, of which not every broker knows yet. Any other reason shows in the number.
            try:
                await until_led(admin, {name: count})
            except BrokerError:
                return [_refused(name, count, error)]
        except KafkaError as error:
            return [_refused(name, count, error)]
        else:
            if not validate_only:
                logger.info("topic %s: now has %d partitions, as many as its source", name, count)
        if not validate_only:
            await until_led(admin, {name: count})
    return []


def _refused(name: str, count: int, error: KafkaError) -> str:
    return f"topic {name}: must have {count} partitions, as many as its source, but they can't be added: {error}"
