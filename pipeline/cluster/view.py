"""The state of the cluster: workers' announcements and cursor rows, joined with the subscriptions.

    <app>.workers ──▶ WorkersSeen ┐
    <app>.cursors ──▶ RowsSeen    ├─ joining ──▶ state(), states(), failures(), totals()
    Registry ─────────────────────┘

joining.py decides what is shown for a lane, such as how many events wait and whether that number is exact. The view is
in no consumer group, writes nothing and needs no partition. Every worker has a view, and `webhooks console` is a view
with pages. `problems` contains a sentence for each part that can't be read. New records are read twice a second and
before each answer, so each answer is up to date.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from pipeline.cluster.announcement import AnnouncedLane, decode
from pipeline.cluster.failures import FailureGroups, largest_first, with_waiting
from pipeline.cluster.joining import joined, pending_places, reason_of, summary_of_announced, summary_of_row, urgency
from pipeline.cluster.ownership import Ownership
from pipeline.cluster.rows_seen import RowsSeen, SeenRow, SourcePartition
from pipeline.cluster.search import SearchIndex
from pipeline.cluster.silence import with_one_silence
from pipeline.cluster.state import (
    DESIRED,
    EVERY_STATE,
    STATES,
    FailureGroup,
    LaneSummary,
    State,
    StateFilter,
    StatePage,
    SubscriptionState,
    WorkerState,
)
from pipeline.cluster.state_index import StateIndex
from pipeline.cluster.workers_seen import HIDDEN_SECONDS, WorkersSeen
from pipeline.core.clock import Clock, SystemClock
from pipeline.core.keys import decode_key
from pipeline.core.model import Event
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.default_partition import default_partition
from pipeline.kafka.follower import Follower
from pipeline.kafka.topics import Source, cursors_topic, workers_topic
from pipeline.subscriptions.registry import Registry

logger = logging.getLogger(__name__)

ROUND_SECONDS: Final = 0.5
READY_SECONDS: Final = 0.05
"""How often `ready` checks whether the topics have been read."""
READ_AT_ONCE: Final = 200
AT_ONCE: Final = 2_000
"""How many rows are read, or subscriptions examined, at a time before other tasks get their turn."""


class ClusterView:
    """The state of all workers and subscriptions.

    Args:
        routing: how events find their subscriptions; None if not configured.
        registry: knows the subscriptions. The caller starts it with `on_subscription` as its callback.
    """

    def __init__(
        self, app: str, source: Source, routing: Routing | None, registry: Registry, clock: Clock | None = None
    ) -> None:
        self._source = source
        self._routing = routing
        self._registry = registry
        self._clock = clock or SystemClock()
        self._workers = WorkersSeen()
        self._rows = RowsSeen(source.topics)
        self._search = SearchIndex()
        self._announced = Follower(
            source.connection, workers_topic(app), self._take_announcement, since_seconds=HIDDEN_SECONDS
        )
        self._written = Follower(source.connection, cursors_topic(app), self._take_row)
        self._index = StateIndex()
        self._changed_ids: dict[str, None] = {}
        self._ownership = Ownership(app, source, self._workers)
        self._version = 0
        self._turn = asyncio.Lock()
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow the topics in the background."""
        await self._announced.start()
        await self._written.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep_reading()), loop.create_task(self._ownership.keep_looking())]

    async def stop(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._announced.stop()
        await self._written.stop()

    async def ready(self) -> None:
        """Wait until all topics have been read, except those that `problems` names."""
        while not (self._announced.has_tried and self._written.has_tried):
            await self._clock.sleep(READY_SECONDS)
        await self._read()
        await self._ownership.look()
        await self._read()

    @property
    def is_current(self) -> bool:
        """Whether all topics have been read to the end that they had at the start, and the brokers still answer."""
        return self.hears_workers and self.has_read_states

    @property
    def hears_workers(self) -> bool:
        """Whether announcements are current. If so, a worker that announces nothing is gone."""
        return self._announced.is_current and self._announced.silence is None

    @property
    def has_read_states(self) -> bool:
        """Whether subscriptions and rows are current. Announcements of workers may be missing."""
        return self._written.is_current and self._registry.is_current and not self._rows.has_unread

    @property
    def rows_problem(self) -> str | None:
        """Why rows can't be read, as a sentence; None if they can be read. Without rows, all states are unknown."""
        return self._written.problem

    def problems(self) -> list[str]:
        """A sentence for each part of the state that is unknown at present, with the reason."""
        found = [self._announced.problem or self._announced.silence, self._written.problem, self._ownership.problem]
        if self._registry.last_error is not None:
            found.append(self._registry.last_error)
        unknown = sorted(self._ownership.unknown)
        if unknown and self._announced.problem is None:
            names = ", ".join(f"{topic}-{number}" for topic, number in unknown)
            found.append(f"no worker announces that it owns {names}, so the number of events waiting there is unknown")
        return with_one_silence([each for each in found if each is not None], self._source.connection.bootstrap_servers)

    def workers(self) -> list[WorkerState]:
        """All workers, by name. A worker that is gone is included for ten minutes."""
        return self._workers.states(self._clock.now())

    # --------------------------------------------------------------- one

    def state(self, subscription_id: str) -> SubscriptionState | None:
        """The state of a subscription; None if there is none with this id."""
        subscription = self._registry.get(subscription_id)
        return None if subscription is None else self._joined(subscription, self._clock.now())

    def counted(self, subscription_id: str, topic: str, partition: int) -> int | None:
        """Exactly how many events of a subscription wait in a partition; None if unknown."""
        state = self.state(subscription_id)
        lanes = () if state is None else state.lanes
        return next((lane.waiting for lane in lanes if (lane.topic, lane.partition) == (topic, partition)), None)

    def _joined(self, subscription: Subscription, now: float) -> SubscriptionState:
        name = subscription.id
        lanes = self._lanes(name)
        places = {(lane.topic, lane.partition) for lane in lanes}
        expected = self._expected_in(name)
        return joined(
            subscription,
            subscription.status_at(now),
            lanes,
            is_unowned=not self._ownership.unowned.isdisjoint(expected - places),
            has_told_all=bool(expected) and (expected <= places or self._has_told_all(expected - places, now)),
            pending=pending_places(subscription, self._rows.of(name), self._ownership.counts),
            unowned=self._ownership.unowned,
            last_success_at=self._workers.last_success(name),
            dead_letter_runs=self._workers.dead_letter_runs(name, self._registry.recreated_at(name)),
            slow_start=self._workers.slow_start(name, subscription.revision, now),
        )

    def _has_told_all(self, places: set[SourcePartition], now: float) -> bool:
        """Whether a lane in these partitions certainly has no waiting events if it has no row and no announcement."""
        return self._workers.has_told_all(now) and self._ownership.unknown.isdisjoint(places)

    def _lanes(self, name: str) -> list[LaneSummary]:
        lanes = []
        for place, found in self._found(name):
            owner = self._ownership.owner(place)
            lanes.append(
                summary_of_announced(found, owner)
                if isinstance(found, AnnouncedLane)
                else summary_of_row(place, found, owner)
            )
        return lanes

    def _found(self, name: str) -> Iterator[tuple[SourcePartition, SeenRow | AnnouncedLane]]:
        """The newer of row and announcement of each lane, by topic and partition."""
        rows, lanes = self._rows.of(name), self._workers.lanes(name)
        for place in sorted({*rows, *lanes}):
            seen, said = rows.get(place), lanes.get(place)
            if said is not None and (seen is None or said[1].at >= seen.at):
                yield place, said[0]
            elif seen is not None:
                yield place, seen

    def _expected_in(self, name: str) -> set[SourcePartition]:
        """The partitions where a subscription's events are expected if producers use Kafka's default partitioner."""
        counts = self._ownership.counts
        if self._routing is Routing.KEY:
            return {(topic, default_partition(name, count)) for topic, count in counts.items() if count}
        return {(topic, number) for topic, count in counts.items() for number in range(count)}

    # --------------------------------------------------------------- many

    async def states(self, wanted: StateFilter = EVERY_STATE, after: str | None = None, limit: int = 100) -> StatePage:
        """A page of the matching subscriptions, sorted by id.

        Args:
            wanted: the filter.
            after: the last id of the previous page.
            limit: the size of the page.
        """
        names = await self._wanted(wanted)
        start = 0 if after is None else bisect_right(names, after)
        items = [state for name in names[start : start + limit] if (state := self.state(name)) is not None]
        is_last = start + limit >= len(names) or not items
        return StatePage(items, None if is_last else items[-1].id, len(names))

    async def _wanted(self, wanted: StateFilter) -> Sequence[str]:
        """The sorted ids of all matching subscriptions."""
        await self._read()
        names: Sequence[str] = self._registry.ids() if wanted.ids is None else sorted(wanted.ids)
        if wanted == EVERY_STATE:
            return names
        now = self._clock.now()
        return [name async for some in _slices(names) for name in self._matching(some, wanted, now)]

    def _matching(self, names: Sequence[str], wanted: StateFilter, now: float) -> Sequence[str]:
        get = self._registry.get
        if wanted.ids is not None:
            names = [name for name in names if get(name) is not None]
        if wanted.text:
            names = self._search.with_text(names, wanted.text)
        if wanted.host is not None:
            names = self._search.with_host(names, wanted.host)
        if wanted.metadata:
            noted = wanted.metadata.items()
            names = [name for name in names if (each := get(name)) is not None and noted <= each.metadata.items()]
        if wanted.causes:
            reasons = ((name, self._index.reason(name)) for name in names)
            names = [name for name, reason in reasons if reason is not None and reason.kind in wanted.causes]
        if wanted.states:
            names = [name for name in names if self._state(name, now) in wanted.states]
        return names

    def _state(self, name: str, now: float) -> State:
        """The state that `joined` would return, at a fraction of the cost."""
        state = self._index.state(name, now)
        unowned = self._ownership.unowned
        if unowned and urgency(state) > urgency("unowned") and state not in DESIRED:
            places = self._expected_in(name).union(self._rows.of(name))
            return state if unowned.isdisjoint(places) else "unowned"
        return state

    async def totals(self, wanted: StateFilter = EVERY_STATE) -> Mapping[State, int]:
        """The number of matching subscriptions in each state."""
        found: dict[State, int] = dict.fromkeys(STATES, 0)
        names, now = await self._wanted(wanted), self._clock.now()
        async for some in _slices(names):
            for name in some:
                found[self._state(name, now)] += 1
        return found

    async def failures(self, wanted: StateFilter = EVERY_STATE) -> list[FailureGroup]:
        """The subscriptions that fail (see `FailureReason`), grouped by cause and host, largest group first."""
        await self._read()
        is_all = wanted == EVERY_STATE
        groups = self._index.failing if is_all else await self._grouped(await self._wanted(wanted))
        without = await self._not_failing(self._doubtful()) if is_all else frozenset()
        shown, looked_at = [], 0
        for group in groups.groups():
            looked_at += len(group.members)
            shown.append(group.shown(without))
            if looked_at >= AT_ONCE:
                looked_at = 0
                await asyncio.sleep(0)
        return await with_waiting(largest_first(shown), self.state)

    async def _grouped(self, names: Sequence[str]) -> FailureGroups:
        """The groups of these subscriptions only."""
        now, groups = self._clock.now(), FailureGroups()
        async for some in _slices(names):
            for name in some:
                reason = self._index.reason(name)
                if reason is not None and reason.is_failure and self._state(name, now) == reason.state:
                    groups.add(name, self._search.host(name), reason)
        return groups

    def _doubtful(self) -> Sequence[str]:
        """Members of the groups whose states may have changed with the time or with the owners of partitions."""
        unowned = self._index.failing.names("retrying", "behind", "live") if self._ownership.unowned else []
        return [*self._index.timed(), *unowned]

    async def _not_failing(self, names: Sequence[str]) -> frozenset[str]:
        now, index = self._clock.now(), self._index
        return frozenset(
            [
                name
                async for some in _slices(names)
                for name in some
                if (reason := index.reason(name)) is not None and self._state(name, now) != reason.state
            ]
        )

    # --------------------------------------------------------------- what comes

    def on_subscription(self, subscription_id: str, subscription: Subscription | None) -> None:
        """Called when the registry has read a record."""
        self._changed_ids[subscription_id] = None
        if subscription is None:
            self._search.forget(subscription_id)
            self._workers.forget(subscription_id)
        else:
            self._search.update(subscription)

    async def changed(self, since: int) -> int:
        """Wait for a change after the version *since*. Returns the new version, for the next call."""
        while self._version <= since:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return self._version

    def _take_row(self, record: Event) -> None:
        self._rows.take(record.key, record.partition, record.value, record.timestamp / 1000)

    def _take_announcement(self, record: Event) -> None:
        name = decode_key(record.key or b"")
        if name is None:
            return
        if record.value is None:
            self._changed_ids.update(dict.fromkeys(self._workers.stopped(name)))
            return
        try:
            said = decode(name, record.value)
        except ValueError as error:
            logger.warning("topic %s: record %d is ignored: %s", record.topic, record.offset, error)
            return
        now = self._clock.now()
        # Announcements that are read at the start may be old.
        heard_at = now if self._announced.is_current else min(now, record.timestamp / 1000)
        self._changed_ids.update(dict.fromkeys(self._workers.take(said, heard_at)))

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._read()
            except Exception:  # a bug: the view may be wrong, but deliveries continue
                logger.exception("the view of the cluster is not up to date")
            await self._clock.sleep(ROUND_SECONDS)

    async def _read(self) -> None:
        """Read all new records."""
        async with self._turn:
            has_changed = self._read_workers()
            while self._rows.has_unread:
                self._changed_ids.update(dict.fromkeys(self._rows.read(READ_AT_ONCE)))
                await asyncio.sleep(0)
            while self._changed_ids:
                has_changed = True
                for name in list(islice(self._changed_ids, READ_AT_ONCE)):
                    del self._changed_ids[name]
                    self._understand(name)
                await asyncio.sleep(0)
        if has_changed:
            self._version += 1
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _read_workers(self) -> bool:
        now = self._clock.now()
        self._workers.refresh(now, self._announced.answered_at)
        return self._ownership.refresh(now, self._written.partitions)

    def _understand(self, name: str) -> None:
        """Update the index with the state of a subscription and why it fails."""
        subscription = self._registry.get(name)
        if subscription is None:
            self._index.forget(name)
        else:
            runs = self._workers.dead_letter_runs(name, self._registry.recreated_at(name))
            reason = reason_of((found for _, found in self._found(name)), runs, self._workers.last_success(name))
            self._index.update(subscription, self._search.host(name), reason)


async def _slices(names: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    """*names* in small groups; other tasks may run between the groups."""
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]
        await asyncio.sleep(0)
