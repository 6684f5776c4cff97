"""Makes a worker's announcements from its live objects, without changing them.

It visits only lanes with events in memory. All other lanes, perhaps a hundred thousand, have rows.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from pipeline.cluster.announcement import (
    MOST_DEAD_LETTER_RUNS,
    MOST_LANES,
    MOST_SLOW_STARTS,
    MOST_SUCCESSES,
    AnnouncedLane,
    Announcement,
)
from pipeline.cluster.state import PartitionState
from pipeline.core.clock import Clock, steady_now
from pipeline.core.lane import Lane
from pipeline.core.lane_state import LaneState
from pipeline.core.partition import Partition
from pipeline.core.sources import Sources
from pipeline.core.waiting import oldest_ms
from pipeline.observability.reporter import WorkerReporter
from pipeline.observability.telemetry import Telemetry

RATE_SECONDS: Final = 10.0
LOOKED_AT: Final = 5_000
"""How many lanes of a partition are examined for one announcement. Only an overloaded worker has more."""


class OwnState:
    """Makes the announcements of this worker.

    Args:
        reporter: reports the worker's warnings, and why it is not ready.
        sources: the partitions of the worker.
        telemetry: the counters of the worker.
        counts: returns the number of partitions of each source topic that is known.
    """

    def __init__(
        self,
        version: str,
        reporter: WorkerReporter,
        sources: Sources,
        telemetry: Telemetry,
        *,
        clock: Clock,
        counts: Callable[[], Mapping[str, int]],
    ) -> None:
        self._version = version
        self._reporter = reporter
        self._sources = sources
        self._telemetry = telemetry
        self._clock = clock
        self._counts = counts
        self._started_at = clock.now()
        self._rates: deque[tuple[float, int, int]] = deque()
        self._dispatched: dict[tuple[str, int], int] = {}

    def announcement(self) -> Announcement:
        """The current announcement. Each success is announced once."""
        now = self._clock.now()
        partitions = [partition for each in self._sources for partition in each.partitions()]
        lanes = [(lane, partition) for partition in partitions for lane in _announceable(partition)]
        unseen = sum(max(0, partition.runner_count - LOOKED_AT) for partition in partitions)
        first = heapq.nsmallest(MOST_LANES, lanes, key=_urgency)
        delivered, failed = self._per_second()
        problem, deliver = self._reporter.problem(), next(iter(self._sources)).deliver
        return Announcement(
            worker=self._reporter.name,
            version=self._version,
            started_at=self._started_at,
            at=now,
            ready=problem is None,
            problem=problem,
            partitions=tuple(self._partition(partition) for partition in partitions),
            counts=self._counts(),
            delivered_per_second=delivered,
            failed_per_second=failed,
            queued=sum(_in_memory(lane) for lane, _ in lanes),
            in_flight=deliver.slots.taken,
            warnings=self._reporter.warnings(),
            lanes=tuple(_announced(lane, partition) for lane, partition in first),
            lanes_left_out=len(lanes) - len(first) + unseen,
            successes=self._successes(),
            dead_letter_runs=self._telemetry.dead_letter_runs.newest(
                MOST_DEAD_LETTER_RUNS, {(each.topic, each.number) for each in partitions}
            ),
            slow_starts=deliver.slow_starts(MOST_SLOW_STARTS),
        )

    def _partition(self, partition: Partition) -> PartitionState:
        counted_to, dispatched = partition.rows.counted_to, partition.dispatched_to
        before = self._dispatched.get((partition.topic, partition.number), dispatched)
        self._dispatched[partition.topic, partition.number] = dispatched
        return PartitionState(
            topic=partition.topic,
            partition=partition.number,
            committed=partition.committed,
            opened_at=partition.opened_at,
            dispatched=dispatched,
            counted_to=counted_to,
            is_counted=counted_to >= before,
            end=self._reporter.end_of(partition.topic, partition.number),
        )

    def _per_second(self) -> tuple[float, float]:
        now, attempts = steady_now(), self._telemetry.attempts
        delivered = attempts["delivered"]
        failed = sum(attempts.values()) - delivered
        self._rates.append((now, delivered, failed))
        while len(self._rates) > 2 and now - self._rates[1][0] >= RATE_SECONDS:  # noqa: PLR2004 - start and end
            self._rates.popleft()
        since, delivered_then, failed_then = self._rates[0]
        seconds = max(now - since, 0.001)
        return (delivered - delivered_then) / seconds, (failed - failed_then) / seconds

    def _successes(self) -> dict[str, float]:
        """Up to `MOST_SUCCESSES` successes; the others are left for the next announcements."""
        waiting = self._telemetry.successes
        return {name: waiting.pop(name) for name in list(islice(waiting, MOST_SUCCESSES))}


def _announceable(partition: Partition) -> Iterator[Lane]:
    for lane in islice(partition.at_work, LOOKED_AT):
        if lane.state is LaneState.LIVE and lane.name is not None and not lane.events.is_empty:
            yield lane


def _urgency(place: tuple[Lane, Partition]) -> tuple[bool, int]:
    lane, _ = place
    is_retrying = any(flight.tries.error is not None for flight in lane.events.in_flight.values())
    return not is_retrying, oldest_ms(lane) or 0


def _announced(lane: Lane, partition: Partition) -> AnnouncedLane:
    events, oldest = lane.events, oldest_ms(lane)
    tried = [flight for flight in events.in_flight.values() if flight.tries.error is not None]
    first = max(tried, key=lambda flight: flight.tries.made, default=None)
    return AnnouncedLane(
        subscription=lane.name or "",
        topic=partition.topic,
        partition=partition.number,
        next=lane.next,
        waiting=_in_memory(lane),
        attempts=0 if first is None else first.tries.made,
        failing_since=None if first is None else first.tries.first_at,
        next_try_at=min((flight.not_before for flight in tried if flight.not_before), default=None),
        error=None if first is None else first.tries.error,
        oldest_event_at=None if oldest is None else oldest / 1000,
    )


def _in_memory(lane: Lane) -> int:
    return len(lane.events.in_flight) + len(lane.events.queue)
