"""A worker of the simulation: the real core over fakes. A crash loses all of its state."""

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.core.ahead import pack
from pipeline.core.clock import steady_now
from pipeline.core.concurrency import Slots
from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.delivery import Delivery
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.lane import Lane
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cause, Event
from pipeline.core.observer import DropRule, RecoveredBy
from pipeline.core.outcome import Delivered, Outcome
from pipeline.core.partition import Partition
from pipeline.core.ports import LaneLimits
from pipeline.core.probing import PROBES_PER_HOST
from pipeline.core.queue_memory import QueueMemory
from pipeline.core.rate_limit import RateLimits
from pipeline.core.sources import Sources
from pipeline.core.subscription import Qos, Rate, Subscription
from pipeline.core.waiting import waiting_in
from pipeline.observability.telemetry import Telemetry
from tests.simulation.ledger import Ledger, ViolationError
from tests.simulation.neighbour import OTHER, Beside, Neighbour
from tests.support.fakes import (
    AskEachFilter,
    HandLease,
    MemoryReader,
    MemoryRegistry,
    MemoryRows,
    RecordingDeadLetters,
    ScriptedSend,
    Stretch,
    VirtualClock,
)

LIMITS = LaneLimits(events=3, bytes=8 * 1024, hold_seconds=5.0)
WORKER_BYTES = 7 * 600
SLOTS = 4
DRAIN_SECONDS = 8.0


class _Receiver(ScriptedSend):
    """Records every request in the ledger at the moment of sending. From then on, the request may have arrived."""

    def __init__(self, worker: "Worker") -> None:
        super().__init__()
        self._worker = worker

    async def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Outcome:
        worker = self._worker
        if worker.beside is not None and event.topic == OTHER:
            worker.lease.check()
            worker.send_beside(subscription, event)
            await asyncio.sleep(0)
            return Delivered(200)
        # This check comes right before the bytes of a request, as in http/webhook.py, because getting a token or a
        # connection may take long.
        worker.lease.check()
        worker.check_sending(subscription, event)
        try:
            sent = worker.ledger.send(subscription, event.offset, attempt, is_owner=worker.is_owner)
        except ViolationError as error:
            worker.problems.append(str(error))
            raise
        outcome = await super().__call__(subscription, event, attempt, renew_token=renew_token)
        worker.ledger.answered(sent, (subscription.id, event.offset), outcome)
        return outcome


class _Letters(RecordingDeadLetters):
    """Settles events whose dead letter is confirmed, no matter which worker wrote it."""

    def __init__(self, worker: "Worker") -> None:
        super().__init__()
        self._worker = worker

    async def put(self, letter: DeadLetterRecord) -> None:
        worker = self._worker
        if letter.event.topic == OTHER:
            return
        place = (letter.subscription or "", letter.event.offset)
        if not worker.is_owner:
            worker.problems.append(f"{place} is dead-lettered by a former owner")
        if letter.reason == "unknown-subscription" and worker.is_owner:
            worker.ledger.given_up_as_unknown(place)
        await super().put(letter)
        worker.ledger.settled.add(place)


class _Books(Telemetry):
    """Settles events that the owner gives up by a rule, because these are counted.

    At-most-once gives up events that may have arrived. Events that retention deletes are also given up; the ledger has
    recorded them as deleted.
    """

    def __init__(self, worker: "Worker") -> None:
        super().__init__(monotonic=lambda: 0.0)
        self._worker = worker

    def dropped(
        self,
        rule: DropRule,
        count: int = 1,
        *,
        subscription: str | None = None,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        since: int | None = None,
    ) -> None:
        super().dropped(
            rule, count, subscription=subscription, topic=topic, partition=partition, offset=offset, since=since
        )
        worker = self._worker
        is_range = rule == "unknown-subscription" and since is not None
        if topic == OTHER or offset is None or is_range or rule in {"retention", "given-up"}:
            return
        place = (subscription or "", offset)
        if not worker.is_owner:
            worker.ledger.given_up.add(place)
            return
        if rule == "unknown-subscription":
            worker.ledger.given_up_as_unknown(place)
        worker.ledger.settled.add(place)

    def subscription_recovered(
        self, subscription: Subscription, topic: str, partition: int, cause: Cause, by: RecoveredBy
    ) -> None:
        super().subscription_recovered(subscription, topic, partition, cause, by)
        self._worker.ledger.recoveries[subscription.id] += 1


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings of one simulation.

    Attributes:
        rate: the rate of every subscription.
        picks: whether filters reject every third event.
        claim_events: with at-most-once, how many events one row may claim.
        matches: whether the routing is `match`.
        probes: whether a subscription in FAILURE is probed.
        has_neighbour: whether there is a second source topic.
    """

    has_dead_letters: bool = True
    interrupts: bool = False
    is_empty: bool = False
    rate: Rate | None = None
    picks: bool = False
    claim_events: int = 1
    matches: bool = False
    probes: bool = False
    has_neighbour: bool = False


class Worker:
    """A worker process of the group, with everything that it has in memory."""

    def __init__(
        self,
        ledger: Ledger,
        changes: list[tuple[str, Subscription | None]],
        setting: Setting,
        neighbour: Neighbour | None = None,
    ) -> None:
        self.ledger = ledger
        self.registry = MemoryRegistry(changes)
        self.receiver = _Receiver(self)
        self.letters = _Letters(self)
        self.reader = MemoryReader(ledger.log)
        self.stretches: list[Stretch] = []
        self.rows: MemoryRows | None = None
        self.is_owner = True
        self.is_stopping = False
        self.position = ledger.committed
        self.telemetry = _Books(self)
        self.slots = Slots(SLOTS)
        self.lease = HandLease()
        self.problems: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        deliver = Delivery(
            send=self.receiver,
            dead_letters=self.letters if setting.has_dead_letters else None,
            caught_up=self.registry.caught_up,
            slots=self.slots,
            lease=self.lease,
            clock=VirtualClock(),
            observer=self.telemetry,
            rate_limits=RateLimits(),
            chance=lambda: 1.0,
            steady=steady_now,
        )
        matching = AskEachFilter() if setting.matches else None
        self.dispatcher = Dispatcher(
            "events",
            deliver=deliver,
            rows_of=self._rows_of,
            registry=self.registry,
            reader=self.reader,
            limits=replace(LIMITS, claim_events=setting.claim_events),
            memory=QueueMemory(WORKER_BYTES),
            on_closed=lambda _number: None,
            matching=matching,
        )
        self.beside = None if neighbour is None else Beside(self.dispatcher, self.registry, neighbour)
        others = [] if self.beside is None else [self.beside.dispatcher]
        self.sources = Sources([self.dispatcher, *others], matching)

    def _rows_of(self, _number: int, log: LogBounds) -> MemoryRows:
        self.rows = MemoryRows(self.ledger.rows, log)
        return self.rows

    def check_sending(self, subscription: Subscription, event: Event) -> None:
        """Record a violation: a request of a former owner, for an event already in flight, or of a stopped lane."""
        name, offset = subscription.id, event.offset
        ledger = self.ledger
        if not self.is_owner:
            self.problems.append(f"{name}: {offset} is sent by a former owner")
        is_pending = any(each.offset == offset and each.subscription.id == name for each in self.receiver.pending)
        if is_pending and ledger.replayed[name] < 0 and offset >= ledger.unordered[name]:
            self.problems.append(f"{name}: {offset} is sent while it is in flight")
        lane = None if self.partition is None else self.partition.lanes.get(name.encode())
        # At-most-once also sends an event that was claimed before its lane stopped.
        if lane is not None and lane.state.feed == "halted" and subscription.qos is not Qos.AT_MOST_ONCE:
            self.problems.append(f"{name}: {offset} is sent although the lane is {lane.status}")

    # ----------------------------------------------------------- life

    def start(self) -> None:
        for name, subscription in self.registry.read():
            self.sources.on_subscription(name, subscription)
        for name in sorted({name for name, _ in self.registry.changes}):
            self.ledger.observe(name, self.registry.get(name))
        log = replace(LogBounds.unseen(None), ahead=self.ledger.ahead, begun_to=self.ledger.begun_to)
        opening = self.dispatcher.open({0: self.position}, {0: log})
        self._tasks.append(asyncio.get_running_loop().create_task(opening))
        if self.beside is not None:
            self._tasks.append(asyncio.get_running_loop().create_task(self.beside.open()))

    def send_beside(self, subscription: Subscription, event: Event) -> None:
        """Record a request for an event of the second topic."""
        if self.beside is None or not self.is_owner:
            self.problems.append(f"{subscription.id}: {event.offset} of {OTHER} is sent by a former owner")
            return
        try:
            self.beside.neighbour.send(subscription, event, self.ledger)
        except ViolationError as error:
            self.problems.append(str(error))

    def stop(self) -> None:
        """Begin a clean stop."""
        if not self.is_stopping:
            self.is_stopping = True
            self._tasks.append(asyncio.get_running_loop().create_task(self._stop()))

    async def _stop(self) -> None:
        drains = (each.drain([0], DRAIN_SECONDS) for each in self.sources)
        offsets, *_ = await asyncio.gather(*drains)
        for rows in (self.rows, None if self.beside is None else self.beside.rows):
            if rows is not None and rows.pending:
                self.ledger.incidents += 1
        if self.is_owner:
            self.commit(offsets)
        await asyncio.gather(*(each.close([0]) for each in self.sources))
        self.is_owner = False

    @property
    def has_stopped(self) -> bool:
        return self.is_stopping and all(task.done() for task in self._tasks)

    async def kill(self) -> None:
        """Kill the worker: nothing that its tasks still do has an effect."""
        if self.rows is not None:
            self.rows.is_dead = True
        if self.beside is not None and self.beside.rows is not None:
            self.beside.rows.is_dead = True
        self.is_owner = False
        self.ledger = Ledger(self.ledger.log, self.ledger.rows)
        self.receiver.pending = []
        tasks = list(self._tasks)
        for partition in (partition for each in self.sources for partition in each.partitions()):
            for lane in partition.lanes.values():
                lane.waits.end_timer()
            tasks += partition._runners
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def partition(self) -> Partition | None:
        return next(iter(self.dispatcher.partitions()), None)

    @property
    def lanes(self) -> list[Lane]:
        return [] if self.partition is None else list(self.partition.lanes.values())

    # ----------------------------------------------------------- what reaches the worker

    def read_registry(self) -> None:
        while found := self.registry.read(1):
            for name, subscription in found:
                if self.is_owner:
                    self.ledger.observe(name, subscription)
                self.sources.on_subscription(name, subscription)

    def stream(self, count: int) -> None:
        """Dispatch the next batch."""
        if self.partition is None or self.is_stopping:
            return
        if self.beside is not None:
            self.beside.stream(count)
        batch = self.ledger.log.read(self.position, count)
        for record in batch:
            for name in self.ledger.names_of(record):
                self.ledger.handed_out(name, record.offset)
        if batch:
            self.position = batch[-1].offset + 1
            self.dispatcher.dispatch(0, batch)
        elif self.ledger.log.end > self.position:
            handed_out, self.position = self.position, self.ledger.log.end
            self.dispatcher.pass_over(0, handed_out, self.position)

    def commit(self, offsets: dict[int, int], *, is_heard: bool = True) -> None:
        if self.is_owner and self.beside is not None:
            self.beside.commit(is_heard=is_heard)
        if self.is_owner and 0 in offsets:
            begun_to = self.dispatcher.begun_to(0)
            self.ledger.commit(offsets[0], pack(offsets[0], self.dispatcher.ahead_of(0, offsets[0])), begun_to or 0)
            if is_heard:
                self.dispatcher.committed(offsets, {0: begun_to})

    def get_rows(self, how: Literal["landed", "stored"], count: int) -> None:
        """Let the broker store waiting rows, with or without a confirmation."""
        if self.beside is not None:
            self.beside.get_rows(how, count)
        if self.rows is None:
            return
        if how == "landed":
            self.rows.land(count)
        else:
            self.rows.store(count)

    def fetch(self, count: int) -> None:
        for reader in (self.reader, *([] if self.beside is None else [self.beside.reader])):
            for partition in list(reader.wanting):
                stretch = reader.fetch(partition, count)
                if stretch is not None:
                    self.stretches.append(stretch)

    @property
    def is_wanting(self) -> bool:
        """Whether a lane wants to read the log."""
        return bool(self.reader.wanting or (self.beside is not None and self.beside.reader.wanting))

    def feed(self) -> None:
        if self.stretches:
            self.stretches.pop(0).feed()

    # ----------------------------------------------------------- what must hold at any time

    def check(self) -> None:
        """Check the worker's state. Raises: ViolationError."""
        for problem in self.problems:
            raise ViolationError(problem)
        for lane in self.lanes:
            if lane.cause is not None and lane.cause.message.startswith("internal error"):
                raise ViolationError(f"{lane.name}: {lane.cause.message}")
            if lane.subscription is not None and lane.subscription.qos.is_ordered:
                self._check_one_in_flight(lane)
            self._check_waiting(lane)
            self._check_probe(lane)
        if sum(lane.is_probing for lane in self.lanes) > PROBES_PER_HOST:
            raise ViolationError("too many probes of one host")
        lanes = [*self.lanes, *([] if self.beside is None else self.beside.lanes)]
        queued = sum(lane.events.queue.bytes for lane in lanes)
        if self.partition is not None and queued != self.dispatcher.memory.used:
            raise ViolationError(f"{self.dispatcher.memory.used} bytes are counted as used, but {queued} are queued")

    def _check_one_in_flight(self, lane: Lane) -> None:
        pending = [attempt for attempt in self.receiver.pending if attempt.subscription.id == lane.name]
        if len([attempt for attempt in pending if attempt.subscription.qos.is_ordered]) > 1:
            raise ViolationError(f"{lane.name}: two requests at a time")

    def _check_probe(self, lane: Lane) -> None:
        """Check that a probe sends one event, and that a timer is set for each planned probe."""
        if lane.is_probing and len(lane.events.in_flight) + len(lane.events.queue) > 1:
            raise ViolationError(f"{lane.name}: a probe of several events: {lane}")
        probes = None if lane.cause is None or lane.is_probing else lane.cause.probes
        is_open = self.is_owner and not self.is_stopping and self.partition is not None
        if is_open and probes is not None and probes.next_at is not None and not lane.waits.is_timed:
            raise ViolationError(f"{lane.name}: nothing will probe it: {lane.cause}")

    def _check_waiting(self, lane: Lane) -> None:
        """Check the number of waiting events that the lane reports.

        Events that retention has deleted may still be counted.
        """
        waiting = deleted = 0
        partition = self.partition
        if lane.state.feed != "live" and partition is not None:
            unread = [
                record.offset
                for record in self.ledger.log.records
                if lane.read_from <= record.offset < partition.dispatched_to
                and record.offset not in lane.events.in_flight
                and self._is_for(lane, record)
            ]
            deleted = sum(offset < self.ledger.log.begin for offset in unread)
            waiting = len(unread) - deleted
        waiting += len(lane.events.queue) + len(lane.events.in_flight)
        told = waiting_in(lane)
        if told.at_most < waiting or (told.is_exact and told.at_most > waiting + deleted):
            raise ViolationError(f"{lane.name}: {waiting} events wait, but the lane reports {told}")

    def _is_for(self, lane: Lane, record: Event) -> bool:
        if not self.ledger.matches:
            return record.key == lane.key
        wants = None if lane.subscription is None else lane.subscription.filter
        return wants is not None and wants(record)

    def is_at_rest(self) -> bool:
        """Whether the worker has nothing left to do, and holds nothing."""
        partition = self.partition
        return (
            partition is not None
            and not partition._runners
            and not self.receiver.pending
            and not self.letters.pending
            and self.rows is not None
            and not self.rows.pending
            and not len(partition.window)
            and self.ledger.committed == partition.dispatched_to
            and self.position == self.ledger.log.end
            and all(lane.is_idle for lane in self.lanes)
            and (self.beside is None or self.beside.is_at_rest())
        )
