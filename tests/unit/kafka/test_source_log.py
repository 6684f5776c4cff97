"""The bounds of a source topic's logs if the topic is recreated during the lookup."""

from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition

from pipeline.core.log_bounds import LogBounds
from pipeline.kafka import source_log
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topic_ids import TopicNow

FORMER, PRESENT = TopicNow("F" * 22, frozenset({0})), TopicNow("P" * 22, frozenset({0}))


class Consumer:
    """A consumer that returns a scripted end of the log for each call."""

    client = None

    def __init__(self, ends: Iterable[int]) -> None:
        self.ends = iter(ends)

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, next(self.ends))


async def test_bounds_and_id_of_a_log_are_read_from_the_same_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the former id, the new log would look like a truncated log, and its events would be skipped."""
    topics = iter((FORMER, PRESENT, PRESENT, PRESENT))

    async def describe(*_: Any) -> TopicNow:
        return next(topics)

    monkeypatch.setattr(source_log, "describe_topic", describe)
    log = SourceLog(KafkaConnection(("127.0.0.1:1",)), "orders")
    monkeypatch.setattr(log, "_consumer", Consumer((2, 3)))
    assert await log.look_once([0]) == {0: LogBounds(0, 3, PRESENT.id)}
