"""Turns the live objects of a worker into the plain values of observability/status.py. Changes no object."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from pipeline.core.clock import steady_now
from pipeline.core.in_flight import NO_TRIES, InFlight, Shelved
from pipeline.core.lane import Lane
from pipeline.core.lane_state import LaneState
from pipeline.core.partition import Partition
from pipeline.core.redaction import shown_url
from pipeline.core.sources import Sources, TopicPartition
from pipeline.core.subscription import Subscription
from pipeline.core.waiting import oldest_ms, waiting_in
from pipeline.observability.absent import Absent, Known
from pipeline.observability.status import (
    EVERY_LANE,
    AbsentReport,
    LaneFilter,
    LaneReport,
    PartitionReport,
    WorkerReport,
)

LANES_AT_ONCE: Final = 100
"""How many lanes are examined before other tasks may run. A worker may have tens of thousands of lanes, and frequent
requests for the status must not slow down deliveries."""


LEFT_TO_THE_LOG: Final = frozenset({LaneState.BEHIND, LaneState.PROBING, LaneState.FAILED})
"""The states of a lane whose events wait in the log although no user halted it."""


class WorkerReporter:
    """The `Reporter` of a running worker.

    Args:
        sources: the partitions of the worker.
        readiness: returns a sentence about why the parts outside the core are not ready (`_readiness` in app.py), or
            None.
        warnings: returns warnings for the operator that don't affect readiness.
        missing_rights: returns a sentence about the rights in Kafka that the worker lacks; None if it lacks none.
        stopping: returns a sentence while the worker stops; None before.
        end_of: returns the end of a partition's log, if known.
        name: host and port of the worker's pages.
        partition_counts: returns the number of partitions of each source topic that is known.
        default_partition: returns the partition that Kafka's default partitioner selects for a subscription id.
        warning_of: returns a warning about a subscription for the operator, if any.
    """

    def __init__(
        self,
        app: str,
        sources: Sources,
        *,
        readiness: Callable[[], str | None],
        end_of: Callable[[str, int], int | None],
        name: Callable[[], str],
        known: Known,
        partition_counts: Callable[[], Mapping[str, int]],
        default_partition: Callable[[str, int], int],
        warning_of: Callable[[Subscription], str | None],
        missing_rights: Callable[[], str | None] = lambda: None,
        stopping: Callable[[], str | None] = lambda: None,
        warnings: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._app = app
        self._sources = sources
        self._deliver = next(iter(sources)).deliver
        self._readiness = readiness
        self._end_of = end_of
        self._name = name
        self._known = known
        self._partition_counts = partition_counts
        self._default_partition = default_partition
        self._warning_of = warning_of
        self._absent = Absent(sources, known, self._expected_partition, warning_of)
        self._missing_rights = missing_rights
        self._stopping = stopping
        self._warnings = warnings

    @property
    def name(self) -> str:
        """Host and port of the worker's pages."""
        return self._name()

    def end_of(self, topic: str, partition: int) -> int | None:
        """The end of a partition's log, if known."""
        return self._end_of(topic, partition)

    def warnings(self) -> tuple[str, ...]:
        """Warnings for the operator that don't affect readiness."""
        return tuple(self._warnings())

    def problem(self) -> str | None:
        """A sentence about why the worker is not ready; None if it is ready."""
        problem = self._readiness()
        if self._sources.has_opened and not self._deliver.lease.is_held:
            # The lease is checked first: while the brokers are unavailable, other parts fail too, but the missing lease
            # stops deliveries.
            problem = "sending is paused until the group's coordinator confirms a heartbeat: Kafka does not answer"
        # Most other problems are consequences of a stop or a missing right.
        problem = self._stopping() or self._missing_rights() or problem
        closed = self._closed()
        if problem is None and closed:
            problem = f"partitions {', '.join(f'{topic}-{number}' for topic, number in closed)} are not open yet"
        return problem

    def _closed(self) -> list[TopicPartition]:
        opened = {TopicPartition(each.topic, each.number) for each in self._opened()}
        return sorted(self._sources.partitions() - opened)

    def worker(self) -> WorkerReport:
        """See `status.Reporter`."""
        sources, problem, opened = self._sources, self.problem(), self._opened()
        return WorkerReport(
            app=self._app,
            name=self.name,
            partition_count=max(self._partition_counts().values(), default=None),
            topics=sources.topics,
            ready=problem is None,
            problem=problem,
            holds_lease=self._deliver.lease.is_held,
            assigned=tuple(sorted(sources.assigned)),
            partitions=(
                *(self._partition(partition) for partition in opened),
                *(self._closed_partition(each) for each in self._closed()),
            ),
            subscriptions=len(self._known),
            queued_events=sum(len(lane.events.queue) for lane in _lanes(opened)),
            queued_bytes=next(iter(sources)).memory.used,
            in_flight=self._deliver.slots.taken,
            hold_seconds=next(iter(sources)).limits.hold_seconds,
            warnings=self.warnings(),
        )

    def _opened(self) -> list[Partition]:
        return [partition for dispatcher in self._sources for partition in dispatcher.partitions()]

    def _partition(self, partition: Partition) -> PartitionReport:
        window = partition.window
        since = window.oldest_since()
        end = self._end_of(partition.topic, partition.number)
        lanes = partition.lanes.values()
        has_more = end is not None and end > window.dispatched_to
        has_work = has_more or len(window) > 0 or any(lane.wants_to_read for lane in lanes)
        return PartitionReport(
            topic=partition.topic,
            partition=partition.number,
            is_open=True,
            committed=partition.committed,
            dispatched=window.dispatched_to,
            end=end,
            unsettled=len(window),
            oldest_unsettled_seconds=max(0.0 if since is None else steady_now() - since, self._oldest_left(partition)),
            lanes=len(lanes),
            # Without the lease, no work is possible. The cause is the brokers, so a restart does not help.
            has_work=has_work and self._deliver.lease.is_held,
            idle_seconds=steady_now() - partition.progressed_at,
        )

    def _oldest_left(self, partition: Partition) -> float:
        """The age of the oldest event that waits in the log. Stopped and paused lanes are ignored."""
        stamps = (oldest_ms(lane) for lane in partition.lanes.values() if lane.state in LEFT_TO_THE_LOG)
        oldest = min((stamp for stamp in stamps if stamp is not None), default=None)
        return 0.0 if oldest is None else max(0.0, self._deliver.clock.now() - oldest / 1000)

    def _closed_partition(self, tp: TopicPartition) -> PartitionReport:
        """An assigned partition that is not open yet. Opening it counts as work."""
        return PartitionReport(
            topic=tp.topic,
            partition=tp.partition,
            is_open=False,
            committed=None,
            dispatched=None,
            end=self._end_of(*tp),
            unsettled=0,
            oldest_unsettled_seconds=0.0,
            lanes=0,
            has_work=True,
            idle_seconds=steady_now() - self._sources[tp.topic].assigned_at,
        )

    async def lanes(self, wanted: LaneFilter = EVERY_LANE) -> list[LaneReport]:
        """See `status.Reporter`."""
        reports = []
        looked_at = 0
        for partition in self._opened():
            for lane in list(partition.lanes.values()):
                if wanted.matches(_name(lane), lane.state.feed, lane.status.value, partition.topic, partition.number):
                    reports.append(self._lane(partition, lane))
                looked_at += 1
                if looked_at % LANES_AT_ONCE == 0:
                    await asyncio.sleep(0)
        return sorted(reports, key=lambda report: (report.subscription, report.topic, report.partition))

    async def absent(self, wanted: LaneFilter = EVERY_LANE) -> list[str]:
        """See `status.Reporter`."""
        return await self._absent.ids(wanted)

    def absent_one(self, subscription: str) -> AbsentReport | None:
        """See `status.Reporter`."""
        return self._absent.report(subscription)

    def _expected_partition(self, subscription: str) -> int | None:
        if next(iter(self._sources)).matching is not None:
            return None  # its events may be in any partition
        counts = set(self._partition_counts().values())
        # In topics of different sizes, a key has different partitions, which may belong to different workers.
        return self._default_partition(subscription, counts.pop()) if len(counts) == 1 else None

    def _lane(self, partition: Partition, lane: Lane) -> LaneReport:
        subscription = lane.subscription
        events, waiting, oldest = lane.events, waiting_in(lane), oldest_ms(lane)
        tried: list[InFlight | Shelved] = [*events.in_flight.values()]
        if events.shelved is not None:
            tried.append(events.shelved)
        most = max((each.tries for each in tried), key=lambda tries: tries.made, default=NO_TRIES)
        errors = [each.tries.error for each in tried if each.tries.error is not None]
        return LaneReport(
            subscription=_name(lane),
            topic=partition.topic,
            partition=partition.number,
            state=lane.state.feed,
            status=lane.status.value,
            next=lane.next,
            waiting=waiting.at_most if waiting.is_exact else None,
            waiting_at_most=waiting.at_most,
            oldest_event_at=None if oldest is None else oldest / 1000,
            queued=len(events.queue),
            queued_bytes=events.queue.bytes,
            in_flight=len(events.in_flight),
            attempt=most.made,
            first_attempt_at=most.first_at,
            not_before=min((each.not_before for each in tried if each.not_before), default=0.0),
            error=max(errors, key=lambda error: error.at, default=None),
            cause=lane.cause,
            revision=events.progress.revision,
            qos="" if subscription is None else subscription.qos.value,
            url="" if subscription is None else shown_url(subscription.url),
            warning=None if subscription is None else self._warning_of(subscription),
            slow_start=None if subscription is None else self._deliver.slow_start(subscription.id),
        )


def _name(lane: Lane) -> str:
    return lane.name or repr(lane.key)


def _lanes(partitions: Sequence[Partition]) -> list[Lane]:
    return [lane for partition in partitions for lane in partition.lanes.values()]
