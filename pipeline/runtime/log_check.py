"""Compares committed offsets with the log: at each assignment, when a fetch is out of range, before the last commit.

A committed offset does not identify its topic. So the topic's id is stored in the metadata of the commit, and also in
each cursor row (kafka/cursors.py). core/log_bounds.py decides what to do if the stored and the current id differ.

The same metadata contains a note of the events settled beyond the offset (core/ahead.py, kafka/committed.py).
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from pipeline.core.ahead import pack, unpack
from pipeline.core.log_bounds import LARGEST_OFFSET, Break, LogBounds, find_break
from pipeline.core.observer import Observer
from pipeline.kafka.committed import BEGUN_TO, SETTLED, TOPIC_ID, Committed

logger = logging.getLogger(__name__)

LAST_LOOK_SECONDS: Final = 3.0
"""How long the last commit waits for the bounds of the log; part of `consumer.LAST_COMMIT_SECONDS`."""


class LogLookup(Protocol):
    """Asks the brokers for the logs of a source topic (kafka/source_log.py)."""

    async def look(self, numbers: list[int]) -> dict[int, LogBounds]:
        """The logs of these partitions. Retries until the brokers answer."""

    async def look_once(self, numbers: list[int]) -> dict[int, LogBounds] | None:
        """The logs of these partitions; None if there is no such topic."""

    async def close(self) -> None:
        """Disconnect."""


class LogCheck:
    """The check of one source topic, in one worker.

    Args:
        source: asks the brokers for the logs.
        observer: gets a report of each break.
        former: for partitions without an offset, the id of the topic from which they were last delivered
            (initial_offsets.py).
    """

    def __init__(
        self, topic: str, source: LogLookup, observer: Observer, former: Mapping[int, str] | None = None
    ) -> None:
        self._topic = topic
        self._source = source
        self._observer = observer
        self._former = dict(former or {})
        self._logs: dict[int, LogBounds] = {}
        self._suspect: set[int] = set()
        self._is_another = False

    def metadata(self, number: int, offset: int = 0, ahead: int = 0, begun_to: int | None = None) -> str:
        """The metadata to commit with an *offset* of a partition.

        Args:
            number: the partition.
            offset: the offset to commit.
            ahead: the settled events after it (core/ahead.py). Without the topic's id they are left out, because the
                note could be applied to another topic with the same name.
            begun_to: subscriptions created before this revision have begun (core/beginnings.py); None: not stored.
        """
        log, fields = self._logs.get(number), []
        if log is not None and log.topic_id is not None:
            fields += [f"{SETTLED}{pack(offset, ahead)}"] if ahead else []
            fields.append(f"{TOPIC_ID}{log.topic_id}")
        if begun_to is not None:
            fields.append(f"{BEGUN_TO}{begun_to}")
        return ";".join(fields)

    async def begin(self, committed: Mapping[int, Committed]) -> tuple[dict[int, int], dict[int, LogBounds]]:
        """The offset at which to continue in each assigned partition, and the current logs."""
        logs = await self._source.look(list(committed))
        # When a topic is deleted, Kafka deletes its offsets too. Then only the known and the stored ids show that the
        # topic was recreated.
        self._is_another = any(self.is_another(log.topic_id) for log in logs.values())
        self._logs, starts = {}, {}
        for number, log in logs.items():
            commit, former = committed[number], self._former.pop(number, None)
            found = None if commit.offset is None else find_break(commit.offset, commit.topic_id, log)
            # If a fetch was out of range, the log may have been truncated and have grown again. The note's offsets may
            # then belong to other events.
            is_same = found is None and number not in self._suspect
            ahead = _settled_ahead(f"partition {number} of {self._topic}", commit, log) if is_same else 0
            self._logs[number] = replace(
                log, former_id=commit.topic_id, commit_break=found, ahead=ahead, begun_to=commit.begun_to
            )
            if commit.offset is None:
                starts[number] = self._begin_without_offset(number, log, former)
            else:
                starts[number] = commit.offset if found is None else found.goes_on_at
        self._suspect.clear()
        return starts, self._logs

    def _begin_without_offset(self, number: int, log: LogBounds, former: str | None) -> int:
        """The beginning of the log, for a partition without a committed offset: the partition or the topic is new."""
        if self._is_another or (former is not None and log.topic_id not in {None, former}):
            # This is reported here, because at the next assignment the new topic's id is the known one.
            self._observer.log_broken(self._topic, number, Break("recreated", 0, log.begin))
        return log.begin

    async def find_offset(self, number: int, offset: int) -> int | None:
        """Where to continue after a fetch from *offset* was out of range; None: the partition has to be reopened."""
        self._suspect.add(number)
        logs = await self._source.look([number])
        found = find_break(offset, self.topic_id(number), logs[number])
        if found is not None and found.kind != "retention":
            return None  # opening it again reports the break
        self._suspect.discard(number)
        if found is None:
            return offset
        self._observer.log_broken(self._topic, number, found)
        return found.goes_on_at

    def is_another(self, topic_id: str | None) -> bool:
        """Whether *topic_id* differs from the id that the topic had when its partitions were opened."""
        known = {log.topic_id for log in self._logs.values()} - {None}
        return topic_id is not None and bool(known) and topic_id not in known

    def is_trusted(self, number: int) -> bool:
        """Whether offsets of a partition may be committed: no fetch was out of range."""
        return number not in self._suspect

    async def committable(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """The offsets that are still in the log.

        If the brokers don't answer in time, this returns all offsets of trusted partitions, because a clean stop
        without a commit would repeat events. The id in the commit lets the next owner find out whether the topic was
        recreated.
        """
        if not offsets:
            return {}
        try:
            async with asyncio.timeout(LAST_LOOK_SECONDS):
                logs = await self._source.look_once(list(offsets))
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            logger.warning("committing offsets without comparing them with the log: %r", error)
            return {number: offset for number, offset in offsets.items() if self.is_trusted(number)}
        if logs is None:
            return {}  # the topic no longer exists
        return {
            number: offset
            for number, offset in offsets.items()
            if (found := find_break(offset, self.topic_id(number), logs[number])) is None or found.kind == "retention"
        }

    def topic_id(self, number: int) -> str | None:
        """The id of the topic that a partition was opened for; None if unknown."""
        log = self._logs.get(number)
        return None if log is None else log.topic_id

    async def close(self) -> None:
        """Disconnect."""
        await self._source.close()


def _settled_ahead(partition: str, commit: Committed, log: LogBounds) -> int:
    """The events in the former owner's note, as bits; 0 if there is no note, or if it does not fit this log."""
    if commit.offset is None or commit.settled is None:
        return 0
    ahead, problem = 0, None
    try:
        ahead = unpack(commit.settled, commit.offset)
    except ValueError as error:
        problem = str(error)
    if commit.topic_id is None or commit.topic_id != log.topic_id:
        problem = f"it belongs to the topic with the id {commit.topic_id}, not {log.topic_id}"
    elif not commit.offset + ahead.bit_length() <= log.end < LARGEST_OFFSET:
        problem = "the end of the log is unknown or before the end of the note"
    if problem is None:
        logger.info("%s: from offset %d on, %d events are settled already", partition, commit.offset, ahead.bit_count())
        return ahead
    logger.warning(
        "%s: ignoring the note of events settled beyond the offset %d; events may be repeated: %s",
        partition,
        commit.offset,
        problem,
    )
    return 0
