"""Rejoins the group when Kafka has fenced partitions that are still assigned to this worker.

A row store is fenced by a new owner of the partition, or by accident: for example, the producer can't begin another
transaction, because one has exceeded its timeout or a coordinator was unavailable. Kafka's error is the same in both
cases, and starting a new producer could fence the new owner. Only the group determines the owner. So the worker rejoins
the group: it gives its partitions back, and opens those that it is assigned, with new producers.

    fenced ─▶ lost (core/dispatcher.py) ─▶ rejoin the group ─▶ assigned to this worker: opened, with a new producer
                                                            └▶ assigned to another worker, which fenced this one
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pipeline.core.clock import steady_now
from pipeline.core.errors import BrokerError
from pipeline.core.sources import TopicPartition

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0
"""The time between two checks. Partitions that are lost between them are handled together."""
JOIN_PAUSE_SECONDS: Final = 30.0
"""The shortest time between two joins.

A join stops deliveries in all partitions of the worker, or of all workers if this worker leads the group. Even if
writing rows keeps failing, the group has to deliver between two joins.
"""
HOPELESS_SECONDS: Final = 120.0
"""If rejoining has no effect for this time, the worker gives up. A drain, the first step of a join, takes less time."""


class GroupMember(Protocol):
    """This worker's membership in the group (runtime/application.py)."""

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the worker is still looking for the group's coordinator."""

    def rejoin(self) -> None:
        """Rejoin as soon as the group's coordinator answers; returns at once."""


class Membership:
    """Rejoins the group while partitions of this worker are fenced.

    Args:
        fenced: returns the fenced partitions that are still assigned to this worker (core/sources.py).
    """

    def __init__(self, fenced: Callable[[], Sequence[TopicPartition]], group: GroupMember) -> None:
        self._fenced = fenced
        self._group = group
        self._asked_at: float | None = None
        self._stuck_since: float | None = None

    async def watch(self) -> None:
        """Call `rejoin_if_fenced` every second, until cancelled.

        Raises:
            BrokerError: rejoining has no effect although the brokers answer.
        """
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if not self.rejoin_if_fenced():
                raise BrokerError("could not rejoin the group, although its coordinator answers")

    def rejoin_if_fenced(self) -> bool:
        """Check the partitions, and rejoin the group if necessary.

        Returns:
            False if rejoining has no effect although the brokers answer.
        """
        fenced = self._fenced()
        now = steady_now()
        if not fenced:
            self._stuck_since = None
            return True
        if self._asked_at is None or now - self._asked_at >= JOIN_PAUSE_SECONDS:
            logger.warning(
                "fenced on partitions %s that are still assigned to this worker; rejoining the consumer group",
                ", ".join(f"{topic}-{number}" for topic, number in fenced),
            )
            self._asked_at = now
            self._group.rejoin()
        if self._stuck_since is None or self._group.is_out_of_reach:
            self._stuck_since = now
        return now - self._stuck_since < HOPELESS_SECONDS
