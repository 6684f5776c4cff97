"""The cluster as its topics tell it: what workers announce and the rows of their lanes, joined with the subscriptions.

    <app>.workers ──▶ WorkersSeen ┐
    <app>.cursors ──▶ RowsSeen    ├─ joining ──▶ state(), states(), failures(), totals()
    Registry ─────────────────────┘

It belongs to no group, writes nothing, and needs no partition: every worker has one, and `webhooks console` is nothing
else. What can't be read is a sentence of `problems`. A round twice a second reads what has come; a question reads what
is left first, so its answer is as new as the topics.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final

from pipeline.cluster.announcement import decode
from pipeline.cluster.failures import grouped
from pipeline.cluster.joining import (
    STATE_OF,
    Reason,
    joined,
    place_of_note,
    place_of_row,
    reason_of,
    shape,
    urgency,
)
from pipeline.cluster.ownership import Ownership
from pipeline.cluster.rows_seen import Place, RowsSeen
from pipeline.cluster.search import Search
from pipeline.cluster.state import (
    EVERY_STATE,
    STATES,
    FailureGroup,
    LanePlace,
    State,
    StateFilter,
    StatePage,
    SubscriptionState,
    WorkerState,
)
from pipeline.cluster.workers_seen import HIDDEN_SECONDS, WorkersSeen
from pipeline.core.clock import Clock, SystemClock
from pipeline.core.keys import decode_key
from pipeline.core.model import Event, Status
from pipeline.core.subscription import Routing, Subscription, status_of
from pipeline.kafka.default_partition import default_partition
from pipeline.kafka.follower import Follower
from pipeline.kafka.topics import Source, cursors_topic, workers_topic
from pipeline.subscriptions.registry import Registry

logger = logging.getLogger(__name__)

ROUND_SECONDS: Final = 0.5
AT_ONCE: Final = 500
"""Rows or subscriptions examined before the event loop gets a turn: deliveries go on meanwhile."""


class ClusterView:
    """The state of all workers and subscriptions.

    Args:
        app: the application.
        source: its source topic.
        routing: how events find their subscriptions.
        registry: the subscriptions; started by somebody else, who calls `on_subscription`.
        clock: the time.
    """

    def __init__(
        self, app: str, source: Source, routing: Routing, registry: Registry, clock: Clock | None = None
    ) -> None:
        self._source = source
        self._routing = routing
        self._registry = registry
        self._clock = clock or SystemClock()
        self._workers = WorkersSeen()
        self._rows = RowsSeen()
        self._search = Search()
        self._announced = Follower(
            source.connection, workers_topic(app), self._take_announcement, since_seconds=HIDDEN_SECONDS
        )
        self._written = Follower(source.connection, cursors_topic(app), self._take_row)
        self._reasons: dict[str, Reason] = {}
        self._changed_ids: dict[str, None] = {}
        self._ownership = Ownership(app, source, self._workers)
        self._version = 0
        self._turn = asyncio.Lock()
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow the topics, in the background."""
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

    @property
    def is_current(self) -> bool:
        """Whether all topics have been read to the end that they had at the start, and the brokers still answer."""
        is_read = self._announced.is_current and self._written.is_current
        return is_read and self._registry.is_current and not self._rows.has_unread

    def problems(self) -> list[str]:
        """What can't be known at present, and why: a sentence each."""
        found = [self._announced.problem, self._written.problem, self._ownership.problem]
        if self._registry.last_error is not None:
            found.append(self._registry.last_error)
        unknown = sorted(self._ownership.unknown)
        if unknown and self._announced.problem is None:
            names = ", ".join(f"{topic}-{number}" for topic, number in unknown)
            found.append(f"no worker says that it owns {names}: how many events wait there is not known")
        return [problem for problem in found if problem is not None]

    def workers(self) -> list[WorkerState]:
        """All workers, by name; those that are gone, for ten minutes."""
        return self._workers.states(self._clock.now())

    # --------------------------------------------------------------- one

    def state(self, subscription_id: str) -> SubscriptionState | None:
        """A subscription; None if there is none with this id."""
        subscription = self._registry.get(subscription_id)
        return None if subscription is None else self._joined(subscription, self._clock.now())

    def _joined(self, subscription: Subscription, now: float) -> SubscriptionState:
        name = subscription.id
        lanes = self._lanes(name)
        places = {(lane.topic, lane.partition) for lane in lanes}
        home = self._home(name)
        return joined(
            subscription,
            status_of(subscription, now),
            lanes,
            is_unowned=not self._ownership.unowned.isdisjoint(home - places),
            has_told_all=home <= places
            or (self._workers.has_told_all(now) and self._ownership.unknown.isdisjoint(home - places)),
            last_success_at=self._workers.last_success(name),
        )

    def _lanes(self, name: str) -> list[LanePlace]:
        rows, notes = self._rows.of(name), self._workers.notes(name)
        lanes = []
        for place in sorted({*rows, *notes}):
            seen, said, owner = rows.get(place), notes.get(place), self._ownership.owner(place)
            if said is not None and (seen is None or said[1].at >= seen.at):
                lanes.append(place_of_note(said[0], owner))
            elif seen is not None:
                lanes.append(place_of_row(place, seen, owner))
        return lanes

    def _home(self, name: str) -> set[Place]:
        """Where events of a subscription are expected; a producer may use another partitioner."""
        counts = self._ownership.counts
        if self._routing is Routing.KEY:
            return {(topic, default_partition(name, count)) for topic, count in counts.items() if count}
        return {(topic, number) for topic, count in counts.items() for number in range(count)}

    # --------------------------------------------------------------- many

    async def states(self, wanted: StateFilter = EVERY_STATE, after: str | None = None, limit: int = 100) -> StatePage:
        """A page of the subscriptions that match, by id.

        Args:
            wanted: which ones.
            after: the last id of the page before.
            limit: the size of the page.
        """
        await self._read()
        ids = self._registry.ids()
        start = 0 if after is None else bisect_right(ids, after)
        items: list[SubscriptionState] = []
        total = before = 0
        now = self._clock.now()
        if wanted == EVERY_STATE:
            total, before = len(ids), start
            names: Iterable[str] = ids[start : start + limit]
            items = [each for name in names if (each := self.state(name)) is not None]
        else:
            async for subscription in self._matching(wanted, ids, now):
                total += 1
                if after is not None and subscription.id <= after:
                    before += 1
                elif len(items) < limit:
                    items.append(self._joined(subscription, now))
        is_last = before + len(items) >= total or not items
        return StatePage(items, None if is_last else items[-1].id, total)

    async def _matching(self, wanted: StateFilter, ids: Sequence[str], now: float) -> AsyncIterator[Subscription]:
        if wanted.ids is not None:
            ids = sorted(wanted.ids)
        text = wanted.text.casefold()
        for number, name in enumerate(ids, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            subscription = self._registry.get(name)
            if subscription is None or (text and not self._search.has(subscription, text)):
                continue
            if wanted.host is not None and self._search.host(subscription) != wanted.host:
                continue
            if wanted.metadata and not wanted.metadata.items() <= subscription.metadata.items():
                continue
            if (wanted.states or wanted.causes) and not self._stands(subscription, wanted, now):
                continue
            yield subscription

    def _stands(self, subscription: Subscription, wanted: StateFilter, now: float) -> bool:
        if wanted.causes:
            reason = self._reasons.get(subscription.id)
            if reason is None or reason.kind not in wanted.causes:
                return False
        return not wanted.states or self._state(subscription, now) in wanted.states

    def _state(self, subscription: Subscription, now: float) -> State:
        """As `joined` says it, at a fraction of its cost."""
        status = status_of(subscription, now)
        if status is not Status.STARTED:
            return STATE_OF[status]
        reason = self._reasons.get(subscription.id)
        state: State = "live" if reason is None else reason.state
        unowned = self._ownership.unowned
        if unowned and urgency(state) > urgency("unowned") and not unowned.isdisjoint(self._home(subscription.id)):
            return "unowned"
        return state

    async def totals(self) -> Mapping[State, int]:
        """How many subscriptions stand in each state."""
        await self._read()
        found: dict[State, int] = dict.fromkeys(STATES, 0)
        now = self._clock.now()
        for number, name in enumerate(self._registry.ids(), 1):
            subscription = self._registry.get(name)
            if subscription is not None:
                found[self._state(subscription, now)] += 1
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def failures(self) -> list[FailureGroup]:
        """Subscriptions that fail, are tried again or are broken, by cause and host; the largest group first."""
        await self._read()
        now = self._clock.now()
        found = []
        for number, (name, reason) in enumerate(list(self._reasons.items()), 1):
            subscription = self._registry.get(name)
            if subscription is not None and self._state(subscription, now) == reason.state:
                found.append((name, self._search.host(subscription), reason))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return grouped(found)

    # --------------------------------------------------------------- what comes

    def on_subscription(self, subscription_id: str, subscription: Subscription | None) -> None:
        """The registry has read a record."""
        self._changed_ids[subscription_id] = None
        if subscription is None:
            self._search.forget(subscription_id)
            self._workers.forget(subscription_id)

    async def changed(self, since: int) -> int:
        """Wait until something has changed after the version *since*; the version then, to wait for the next change."""
        while self._version <= since:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return self._version

    def _take_row(self, record: Event) -> None:
        self._rows.take(record.key, (self._source.topic, record.partition), record.value, record.timestamp / 1000)

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
        # What is read at the start was said a while ago.
        heard_at = now if self._announced.is_current else min(now, record.timestamp / 1000)
        self._changed_ids.update(dict.fromkeys(self._workers.take(said, heard_at)))

    async def _keep_reading(self) -> None:
        while True:
            try:
                await self._read()
            except Exception:  # a bug: what is shown may be wrong, and deliveries go on
                logger.exception("the view of the cluster is not up to date")
            await self._clock.sleep(ROUND_SECONDS)

    async def _read(self) -> None:
        """Read everything that has come."""
        async with self._turn:
            has_changed = self._read_workers()
            while self._rows.has_unread:
                self._changed_ids.update(dict.fromkeys(self._rows.read(AT_ONCE)))
                await asyncio.sleep(0)
            while self._changed_ids:
                has_changed = True
                for name in list(self._changed_ids)[:AT_ONCE]:
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
        self._workers.forget_gone(now)
        if not self._ownership.refresh(now, self._written.partitions):
            return False
        # Lanes of partitions that have another owner, or none: their rows are to be read in another light.
        self._changed_ids.update(dict.fromkeys(self._rows.names()))
        return True

    def _understand(self, name: str) -> None:
        """What a subscription has changed to: what it is searched by, and why it fails."""
        subscription = self._registry.get(name)
        if subscription is None:
            self._reasons.pop(name, None)
            return
        self._search.note(subscription)
        if subscription.problem is not None:
            problem = subscription.problem
            self._reasons[name] = Reason("broken", "configuration", shape(problem), problem, None)
            return
        reason = reason_of(self._lanes(name))
        if reason is None:
            self._reasons.pop(name, None)
        else:
            self._reasons[name] = reason
