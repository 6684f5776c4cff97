"""Finds subscriptions that have no lane in this worker, because none of their events waits in its partitions.

A worker removes a lane that has no work, and other workers own other partitions. So a subscription without a lane is
idle, or its partition belongs to another worker. This module guesses from the partition that Kafka's default
partitioner selects for the subscription's key. The guess may be wrong: a producer may use another partitioner, and when
a topic gains partitions, its events stay in their partitions.

With `routing: match`, a subscription's events may be in any partition, so every subscription without a lane is shown as
idle. The same applies if the source topics have different numbers of partitions.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pipeline.core.clock import Clock
from pipeline.core.partition import Partition
from pipeline.core.redaction import shown_url
from pipeline.core.sources import Sources
from pipeline.core.subscription import Subscription
from pipeline.observability.status import EVERY_LANE, Absence, AbsentReport, LaneFilter

IDS_AT_ONCE: Final = 200
"""How many subscriptions are examined before other tasks may run. There may be a hundred thousand."""


class Known(Protocol):
    """All subscriptions (subscriptions/registry.py)."""

    def __len__(self) -> int:
        """The number of subscriptions."""

    def get(self, subscription_id: str) -> Subscription | None:
        """The newest revision of a subscription; None if there is no such subscription."""

    def ids(self) -> Sequence[str]:
        """The ids of all subscriptions, sorted."""


class Absent:
    """Finds subscriptions without a lane.

    Args:
        sources: the partitions of this worker.
        known: all subscriptions.
        default_partition: returns the default partition of a subscription id; None with `routing: match`, or while the
            number of partitions is unknown or differs between topics.
        warning_of: returns a warning about a subscription for the operator, if any.
    """

    def __init__(
        self,
        sources: Sources,
        known: Known,
        default_partition: Callable[[str], int | None],
        warning_of: Callable[[Subscription], str | None],
    ) -> None:
        self._sources = sources
        self._known = known
        self._default_partition = default_partition
        self._warning_of = warning_of
        self._clock: Clock = next(iter(sources)).clock

    async def ids(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:
        """The subscriptions without a lane that match the filter, sorted by id."""
        if wanted.partition is not None or wanted.topic is not None:
            return []
        partitions = [partition for dispatcher in self._sources for partition in dispatcher.partitions()]
        found = []
        for number, name in enumerate(self._known.ids() if wanted.subscription is None else [wanted.subscription], 1):
            if self._is_wanted(name, wanted, partitions):
                found.append(name)
            if number % IDS_AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    def _is_wanted(self, name: str, wanted: LaneFilter, partitions: Sequence[Partition]) -> bool:
        subscription, key = self._known.get(name), name.encode()
        if subscription is None or any(key in partition.lanes for partition in partitions):
            return False
        is_of_state = wanted.state is None or wanted.state == self._absence(self._default_partition(name))
        return is_of_state and wanted.status in {None, subscription.status_at(self._clock.now()).value}

    def _absence(self, default_partition: int | None) -> Absence:
        return "idle" if default_partition is None or default_partition in self._sources.assigned else "elsewhere"

    def report(self, name: str) -> AbsentReport | None:
        """The report about a subscription; None if it no longer exists."""
        subscription = self._known.get(name)
        if subscription is None:
            return None
        default_partition = self._default_partition(name)
        return AbsentReport(
            subscription=name,
            state=self._absence(default_partition),
            status=subscription.status_at(self._clock.now()).value,
            default_partition=default_partition,
            revision=subscription.revision,
            qos=subscription.qos.value,
            url=shown_url(subscription.url),
            problem=subscription.problem,
            warning=self._warning_of(subscription),
        )
