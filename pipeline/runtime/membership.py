"""Partitions that Kafka has fenced while the group still says that they are ours: who owns them is settled anew.

A store of rows is fenced by a new owner, or by accident: its producer can begin no transaction any more, for one has
outlived its timeout, say, or a coordinator was away. Kafka does not tell the two apart (to one whose transaction has
timed out it answers as to a former owner), and a producer that was simply started again would fence a new owner in
turn. So the group is asked: a worker that joins it again gives its partitions back, is told which are its own, and
opens these afresh.

    fenced ─▶ lost (core/dispatcher.py) ─▶ the group is joined again ─▶ assigned to us: opened, with a new producer
                                                                └▶ assigned to another, who has fenced us
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pipeline.core.clock import steady_now

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0
"""Between two looks; what is lost within it is settled at once."""
JOIN_PAUSE_SECONDS: Final = 30.0
"""At least so long from one joining to the next: each brings all partitions of the worker to rest, and if it leads the
group those of all workers, and where writing rows goes on to fail the group has to get to deliver in between."""
HOPELESS_SECONDS: Final = 120.0
"""Longer than partitions may take to be given back, which is the first thing that joining does."""


class GroupMember(Protocol):
    """This worker's membership in the group (runtime/consumer.py)."""

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it is still looked for a broker to answer for the group."""
        ...

    def rejoin(self) -> None:
        """Join again as soon as a broker answers for the group; returns at once."""
        ...


class Ownership:
    """Has the group joined again while partitions of this worker are lost to it.

    Args:
        orphans: partitions that Kafka has fenced although the group says that they are ours (core/dispatcher.py).
        group: is joined again.
    """

    def __init__(self, orphans: Callable[[], Sequence[int]], group: GroupMember) -> None:
        self._orphans = orphans
        self._group = group
        self._asked_at: float | None = None
        self._stuck_since: float | None = None

    def settle(self) -> bool:
        """Look at the partitions, and have the group joined again if need be.

        Returns:
            Whether there is hope. There is none where joining again goes unheard although brokers answer.
        """
        orphans = self._orphans()
        now = steady_now()
        if not orphans:
            self._stuck_since = None
            return True
        if self._asked_at is None or now - self._asked_at >= JOIN_PAUSE_SECONDS:
            logger.warning("partitions %s are ours to the group, and not to their cursors: joining it again", orphans)
            self._asked_at = now
            self._group.rejoin()
        if self._stuck_since is None or self._group.is_out_of_reach:
            self._stuck_since = now
        return now - self._stuck_since < HOPELESS_SECONDS
