"""Which workers are present or gone, and which partitions they own, from announcements. Pure except for the clock.

The owner of a partition is the worker that announced it last, unless that worker is gone. A partition that no worker
announces may still have an owner, because older versions announce nothing. For such a partition, ownership.py describes
the consumer group.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import inf
from typing import Final

from pipeline.cluster.announcement import AnnouncedLane, Announcement
from pipeline.cluster.rows_seen import SourcePartition
from pipeline.cluster.state import PartitionState, WorkerState
from pipeline.core.attempts import DeadLetterRun
from pipeline.core.bounded import Bounded
from pipeline.core.rate_limit import SlowStart

GONE_SECONDS: Final = 10.0
"""A worker that has announced nothing for this long is gone. Workers announce themselves every two seconds."""
MOST_SUCCESSES_KEPT: Final = 500_000
"""How many subscriptions are remembered. Anyone with access to the topic can invent names."""
MOST_RUNS_KEPT: Final = 100
"""How many workers' dead letters are remembered for a subscription."""
DEAF_SECONDS: Final = 7.0
"""If the brokers have not answered for this long, no worker can be heard. Less than `GONE_SECONDS`, and more than the
time between two looks of a follower."""
HIDDEN_SECONDS: Final = 600.0
"""How long a worker that is gone is shown after its last announcement."""


class WorkersSeen:
    """The newest announcement of each worker."""

    def __init__(self) -> None:
        self._said: dict[str, Announcement] = {}
        self._heard_at: dict[str, float] = {}
        self._excused_at: dict[str, float] = {}
        self._lanes: dict[str, dict[SourcePartition, tuple[AnnouncedLane, Announcement]]] = {}
        self._successes: Bounded[str, float] = Bounded(MOST_SUCCESSES_KEPT)
        self._dead_letter_runs: Bounded[str, dict[str, DeadLetterRun]] = Bounded(MOST_SUCCESSES_KEPT)
        self._places: dict[SourcePartition, PartitionState] = {}

    def take(self, announcement: Announcement, heard_at: float) -> set[str]:
        """Add an announcement. Returns the subscriptions whose states it may change.

        Args:
            announcement: an announcement of a worker.
            heard_at: Unix seconds by the clock of this process; the worker's clock may differ by minutes.
        """
        worker = announcement.worker
        changed = self._forget_lanes(worker)
        self._said[worker] = announcement
        self._heard_at[worker] = heard_at
        for lane in announcement.lanes:
            self._lanes.setdefault(lane.subscription, {})[lane.topic, lane.partition] = (lane, announcement)
            changed.add(lane.subscription)
        changed.update(announcement.slow_starts)
        for each in announcement.partitions:
            self._places[each.topic, each.partition] = each
        for name, at in (announcement.successes or {}).items():
            self._successes[name] = at
            if name in self._dead_letter_runs:
                changed.add(name)
        for name, run in announcement.dead_letter_runs.items():
            at = min(run.at, heard_at)  # a time in the future would hide later deliveries and dead letters
            if self._add_run(name, worker, replace(run, since=min(run.since, at), at=at)):
                changed.add(name)
        return changed

    def _add_run(self, name: str, worker: str, run: DeadLetterRun) -> bool:
        """Remember a worker's run of dead letters. Returns whether it is news."""
        runs = self._dead_letter_runs.get(name, {})
        if worker in runs and runs[worker].at >= run.at:
            return False
        runs[worker] = run
        if len(runs) > MOST_RUNS_KEPT:
            del runs[min(runs, key=lambda each: runs[each].at)]
        self._dead_letter_runs[name] = runs
        return True

    def stopped(self, worker: str) -> set[str]:
        """Remove a worker that has stopped. Returns the subscriptions of its last announcement."""
        changed = self._forget_lanes(worker)
        self._said.pop(worker, None)
        self._heard_at.pop(worker, None)
        self._excused_at.pop(worker, None)
        return changed

    def _forget_lanes(self, worker: str) -> set[str]:
        former = self._said.get(worker)
        if former is None:
            return set()
        names = {lane.subscription for lane in former.lanes}
        for name in names:
            kept = {place: found for place, found in self._lanes.get(name, {}).items() if found[1].worker != worker}
            if kept:
                self._lanes[name] = kept
            else:
                self._lanes.pop(name, None)
        return names.union(former.slow_starts)

    def refresh(self, now: float, answered_at: float) -> None:
        """Remove workers that have been gone for ten minutes, and excuse those that could not be heard.

        Args:
            now: the time, Unix seconds.
            answered_at: when the brokers answered last. If that was long ago, because they are silent or this process
            was stopped, no announcement can have arrived since. A worker that was present at that time then does not
            count as gone.
        """
        # If the clock was set back, a worker that is gone would seem present until the clock has caught up.
        for times in (self._heard_at, self._excused_at):
            times.update({worker: now for worker, at in times.items() if at > now})
        for worker, at in list(self._heard_at.items()):
            if now - answered_at > DEAF_SECONDS and not self.is_gone(worker, answered_at):
                self._excused_at[worker] = now
            elif now - at > HIDDEN_SECONDS and self.is_gone(worker, now):
                self.stopped(worker)

    def is_gone(self, worker: str, now: float) -> bool:
        """Whether a worker has announced nothing for ten seconds in which it could be heard."""
        return now - max(self._heard_at.get(worker, 0.0), self._excused_at.get(worker, 0.0)) > GONE_SECONDS

    def owned(self, now: float) -> dict[SourcePartition, str]:
        """The owner of each partition: of the workers that are present, the one that announced it last."""
        return {
            (each.topic, each.partition): worker
            for worker, said in sorted(self._said.items(), key=lambda found: self._heard_at[found[0]])
            if not self.is_gone(worker, now)
            for each in said.partitions
        }

    def place(self, place: SourcePartition) -> PartitionState | None:
        """A partition as last announced, by any worker."""
        return self._places.get(place)

    def counts(self) -> dict[str, int]:
        """The number of partitions of each source topic, according to the announcements."""
        found: dict[str, int] = {}
        for said in self._said.values():
            for topic, count in said.counts.items():
                found[topic] = max(count, found.get(topic, 0))
        return found

    def lanes(self, name: str) -> Mapping[SourcePartition, tuple[AnnouncedLane, Announcement]]:
        """The announced live lanes of a subscription."""
        return self._lanes.get(name, {})

    def last_success(self, name: str) -> float | None:
        """The time of a subscription's last delivery that a worker has announced."""
        return self._successes.get(name)

    def dead_letter_runs(self, name: str, recreated_at: int | None = None) -> Collection[DeadLetterRun]:
        """The last dead letters of a subscription that each worker has announced.

        An announcement may be about a deleted subscription with the same id. If *recreated_at* is the revision that
        created the current subscription, such dead letters are left out.
        """
        runs = self._dead_letter_runs.get(name, {}).values()
        return [run for run in runs if run.revision is None or run.revision >= (recreated_at or 0)]

    def slow_start(self, name: str, revision: int, now: float) -> SlowStart | None:
        """The announced slow start of a subscription's receiver; if there are several, the one with the lowest rate."""
        found = [
            slow
            for worker, said in self._said.items()
            if (slow := said.slow_starts.get(name)) is not None
            and slow.revision == revision
            and not self.is_gone(worker, now)
        ]
        return min(found, key=lambda slow: (slow.per_second or inf, -slow.until), default=None)

    def forget(self, name: str) -> None:
        """Remove a deleted subscription."""
        self._successes.pop(name, None)
        self._dead_letter_runs.pop(name, None)

    def has_told_all(self, now: float) -> bool:
        """Whether all workers that are present have announced all of their live lanes with events in memory."""
        return all(not said.lanes_left_out for worker, said in self._said.items() if not self.is_gone(worker, now))

    def states(self, now: float) -> list[WorkerState]:
        """All workers, by name."""
        return [
            WorkerState(
                name=said.worker,
                version=said.version,
                started_at=said.started_at,
                seen_at=self._heard_at[name],
                is_gone=self.is_gone(name, now),
                ready=said.ready,
                problem=said.problem,
                partitions=said.partitions,
                delivered_per_second=said.delivered_per_second,
                failed_per_second=said.failed_per_second,
                queued=said.queued,
                in_flight=said.in_flight,
                warnings=said.warnings,
            )
            for name, said in sorted(self._said.items())
        ]
