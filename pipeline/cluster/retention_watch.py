"""Finds subscriptions whose events will soon be deleted by the source topic's retention, and reports each one once.

The events of a lane that is behind, failed, paused or stopped wait in the log. A subscription is reported when its
oldest event has reached nine tenths of the retention time, so that the operator still has time to act.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from pipeline.core.clock import Clock, shown_time, steady_now
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.errors import BrokerError
from pipeline.core.lane import Lane
from pipeline.core.lane_state import LaneState
from pipeline.core.redaction import shown_host
from pipeline.core.waiting import oldest_ms, waiting_in
from pipeline.kafka.admin import topic_setting
from pipeline.kafka.connection import KafkaConnection

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
ASK_SECONDS: Final = 3_600.0
"""How often the retention time of topics is read."""
NEAR: Final = 0.9
LANES_AT_ONCE: Final = 1_000
"""How many lanes are examined before other tasks may run."""


class RetentionWatch:
    """Watches the lanes of one worker.

    Args:
        sources: the partitions of the worker.
        retention_ms: returns how long a topic keeps events, in milliseconds; None: indefinitely, or unknown.
        tell: called with a subscription and the facts about its oldest event.
    """

    def __init__(
        self,
        sources: Iterable[Dispatcher],
        retention_ms: Callable[[str], Awaitable[int | None]],
        tell: Callable[[Literal["subscription.losing-events"], str, Mapping[str, Any]], None],
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._ask = retention_ms
        self._tell = tell
        self._clock = clock
        self._told: set[tuple[str, int, bytes]] = set()
        self._retentions: dict[str, int | None] = {}
        self._asked_at: float | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except BrokerError as error:
                logger.info("the retention of the source topics can't be read: %s", error)
            except Exception:  # an error here must not end the worker
                logger.exception("the age of waiting events can't be watched")

    async def look(self) -> None:
        """Examine every lane once.

        Raises:
            BrokerError: the retention can't be read.
        """
        if self._asked_at is None or steady_now() - self._asked_at >= ASK_SECONDS:
            asked_at = steady_now()
            self._retentions = {each.topic: await self._ask(each.topic) for each in self._sources}
            self._asked_at = asked_at
        now = self._clock.now()
        near: set[tuple[str, int, bytes]] = set()
        for looked_at, (topic, partition, lane, keeps_ms) in enumerate(self._lanes(), start=1):
            if looked_at % LANES_AT_ONCE == 0:
                await asyncio.sleep(0)
            stamp = None if lane.state is LaneState.LIVE else oldest_ms(lane)
            if stamp is not None and now * 1000 - stamp >= NEAR * keeps_ms:
                near.add((topic, partition, lane.key))
                self._found(topic, partition, lane, (stamp, stamp + keeps_ms))
        self._told &= near  # once its events are delivered, it may be reported again

    def _lanes(self) -> Iterator[tuple[str, int, Lane, int]]:
        """The lanes whose topic has a retention: topic, partition, lane, milliseconds."""
        for source in self._sources:
            keeps_ms = self._retentions[source.topic]
            if keeps_ms is not None:
                for partition in source.partitions():
                    for lane in list(partition.lanes.values()):
                        yield source.topic, partition.number, lane, keeps_ms

    def _found(self, topic: str, partition: int, lane: Lane, stamps: tuple[int, int]) -> None:
        subscription, where, (stamp, deleted_ms) = lane.subscription, (topic, partition, lane.key), stamps
        if subscription is None or where in self._told:
            return
        self._told.add(where)
        waiting = waiting_in(lane)
        self._tell(
            "subscription.losing-events",
            subscription.id,
            {
                "subscription": subscription.id,
                "topic": topic,
                "partition": partition,
                "host": shown_host(subscription.url),
                "metadata": dict(subscription.metadata),
                "status": lane.status.value,
                "oldestEventAt": shown_time(stamp / 1000),
                "deletedFrom": shown_time(deleted_ms / 1000),
                "waiting": waiting.at_most if waiting.is_exact else None,
                "waitingAtMost": waiting.at_most,
            },
        )


async def retention_ms(connection: KafkaConnection, topic: str) -> int | None:
    """How long a topic keeps its events, in milliseconds; None: indefinitely, or this user may not read the setting.

    Raises:
        BrokerError: the cluster can't be reached.
    """
    if connection.embedded:
        return None
    text = await topic_setting(connection, topic, "retention.ms")
    found = int(text) if text is not None and text.isdigit() else None  # -1: indefinitely
    return found or None
