"""Finds the owner of each partition in the announcements of workers and in the consumer group.

a worker that is present announces it                   owned
not announced, and a member of the group has it         unknown: the member can't or does not announce itself
not announced, and no member of the group has it        unowned: its events wait for a worker
the group can't be asked, or is about to rebalance      unknown
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from pipeline.cluster.joining import Owner
from pipeline.cluster.rows_seen import SourcePartition
from pipeline.cluster.workers_seen import WorkersSeen
from pipeline.core.errors import BrokerError
from pipeline.kafka.group_positions import assigned_partitions
from pipeline.kafka.log_positions import log_positions
from pipeline.kafka.topics import Source

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 3.0
"""How often the group is described while there are partitions that no worker announces."""
ENDS_SECONDS: Final = 15.0
"""How often the ends of partitions without an owner are looked up."""


class Ownership:
    """The owners of all partitions.

    Args:
        group: the consumer group of the workers.

    Attributes:
        counts: the number of partitions of each source topic.
        unowned: the partitions that certainly have no owner.
        unknown: the partitions that no worker announces, and that may have an owner.
        problem: a sentence about why the group can't be described, or None.
    """

    def __init__(self, group: str, source: Source, workers: WorkersSeen) -> None:
        self.counts: dict[str, int] = {}
        self.unowned: set[SourcePartition] = set()
        self.unknown: set[SourcePartition] = set()
        self.problem: str | None = None
        self._group = group
        self._source = source
        self._workers = workers
        self._owned: dict[SourcePartition, str] = {}
        self._members: Mapping[SourcePartition, str] | None = None
        self._ends: dict[SourcePartition, int] = {}
        self._ends_at = -ENDS_SECONDS

    def owner(self, place: SourcePartition) -> Owner:
        """What is known about a partition and its owner."""
        partition = self._workers.place(place)
        return Owner(self._owned.get(place), place in self.unowned, partition, self._ends.get(place))

    def refresh(self, now: float, partitions: int) -> bool:
        """Evaluate the announcements read so far. Returns whether an owner has changed.

        Args:
            now: the time, Unix seconds.
            partitions: the number of partitions, used if no worker has announced it.
        """
        former = (self._owned, self.counts, self.unowned, self.unknown)
        unsaid = dict.fromkeys(self._source.topics, partitions) if partitions else {}
        self.counts = self._workers.counts() or unsaid
        self._owned = self._workers.owned(now)
        places = {(topic, number) for topic, count in self.counts.items() for number in range(count)}
        silent = places - self._owned.keys()
        self.unowned = set() if self._members is None else silent - self._members.keys()
        self.unknown = silent - self.unowned
        return former != (self._owned, self.counts, self.unowned, self.unknown)

    async def keep_looking(self) -> None:
        """Describe the group repeatedly while workers do not announce all partitions. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Describe the group once, unless workers announce all partitions."""
        if not (self.unknown or self.unowned):
            self._members, self.problem = None, None
            return
        try:
            await self._ask()
        except BrokerError as error:
            if self.problem != str(error):
                logger.warning("%s; the owners of some partitions are unknown", error)
            self._members, self.problem = None, str(error)
        except Exception:  # whatever the broker answers, the view shows everything else
            logger.exception("the members of the group %s can't be described", self._group)
            self._members, self.problem = None, f"group {self._group}: its members can't be described"

    async def _ask(self) -> None:
        if self._source.connection.embedded:
            return  # the embedded broker can't describe groups
        self._members = await assigned_partitions(self._source.connection, self._group)
        self.problem = None
        now = asyncio.get_running_loop().time()
        if self.unowned and now - self._ends_at >= ENDS_SECONDS:
            self._ends_at = now
            found = {topic: await log_positions(self._source.connection, topic) for topic in self._source.topics}
            self._ends = {(topic, number): end for topic, each in found.items() for number, end in enumerate(each.ends)}
