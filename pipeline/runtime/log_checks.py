"""The log checks of all source topics (log_check.py)."""

import asyncio
from collections.abc import Mapping

from faust.types import TP

from pipeline.core.log_bounds import LogBounds
from pipeline.core.sources import TopicPartition, by_topic, of_topics
from pipeline.kafka.committed import Committed
from pipeline.runtime.log_check import LogCheck


class LogChecks:
    """The log checks of a worker.

    Args:
        checks: the check of each source topic.
    """

    def __init__(self, checks: Mapping[str, LogCheck]) -> None:
        self._checks = checks

    def __getitem__(self, topic: str) -> LogCheck:
        """The check of a source topic."""
        return self._checks[topic]

    def topic_id(self, topic: str, number: int) -> str | None:
        """See `LogCheck.topic_id`."""
        return self._checks[topic].topic_id(number)

    async def begin(
        self, committed: Mapping[TP, Committed]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, LogBounds]]:
        """See `LogCheck.begin`. Topics without a partition on this worker are skipped."""
        commits = by_topic(committed)
        found = await asyncio.gather(*(self._checks[topic].begin(each) for topic, each in commits.items()))
        positions = of_topics((topic, starts) for topic, (starts, _) in zip(commits, found, strict=True))
        return positions, of_topics((topic, logs) for topic, (_, logs) in zip(commits, found, strict=True))

    def trusted(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The offsets of partitions that `LogCheck.is_trusted` allows."""
        return {tp: offset for tp, offset in offsets.items() if self._checks[tp.topic].is_trusted(tp.partition)}

    async def committable(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """See `LogCheck.committable`."""
        numbers = by_topic(offsets)
        found = await asyncio.gather(*(check.committable(numbers[topic]) for topic, check in self._checks.items()))
        return of_topics(zip(self._checks, found, strict=True))

    async def close(self) -> None:
        """Disconnect."""
        await asyncio.gather(*(check.close() for check in self._checks.values()))
