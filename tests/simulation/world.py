"""A simulation: the durable state, the workers that start and end, and a schedule that is run step by step."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.core.lane import Lane
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import DesiredStatus
from tests.simulation.actions import (
    OUTCOMES,
    Action,
    Answer,
    Arrive,
    Checkpoint,
    Command,
    Commit,
    Confirm,
    Crash,
    DeadLetter,
    Edit,
    Feed,
    Fetch,
    Hear,
    Lapse,
    Pass,
    Produce,
    Replay,
    Retain,
    Rows,
    Step,
    Stop,
    Stream,
    TakeOver,
)
from tests.simulation.ledger import Ledger, ViolationError
from tests.simulation.neighbour import Neighbour
from tests.simulation.people import People
from tests.simulation.worker import Setting, Worker
from tests.support.fakes import RowTopic, SourceLog
from tests.support.virtual_time import settle

ROUNDS: Final = 60
ROUNDS_PER_EVENT: Final = 16
"""Without further failures, everything comes to rest within `ROUNDS`, plus `ROUNDS_PER_EVENT` for each event.

At the lowest rate, an event takes seven rounds of a second in each of two topics.
"""
LONG_SECONDS: Final = 45.0
"""A time longer than any wait between two attempts."""

Note = Callable[[str], None]


class World:
    """The durable state, and the workers."""

    def __init__(self, setting: Setting, note: Note = lambda _line: None) -> None:
        self.setting = setting
        self.log = SourceLog()
        self.rows = RowTopic()
        self.ledger = Ledger(self.log, self.rows, setting.claim_events, setting.matches, setting.has_neighbour)
        self.rows.observe = self.ledger.row_written
        self.people = People(self.ledger, setting, self._next_of)
        self.neighbour = Neighbour(self.log) if setting.has_neighbour else None
        self.owner: Worker | None = None
        self.former: list[Worker] = []
        self.faults: list[str] = []
        self._note = note

    # ----------------------------------------------------------- the schedule

    async def play(self, steps: Sequence[Step]) -> None:
        """Run a schedule and check after every step; then let everything come to rest. Raises: ViolationError."""
        asyncio.get_running_loop().set_exception_handler(self._on_fault)
        try:
            self._started()
            await self._settle(20)
            for step in steps:
                self._note(f"{step.action} then {step.turns} turns")
                await self._act(step.action)
                await self._settle(step.turns)
            self._note("from now on nothing fails")
            await self._come_to_rest()
        finally:
            await self._end()

    def _on_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.faults.append(repr(context.get("exception") or context.get("message")))

    async def _settle(self, turns: int) -> None:
        await settle(turns)
        self._check()

    def _check(self) -> None:
        if self.faults:
            raise ViolationError(f"unhandled: {self.faults[0]}")
        owner = self.owner
        if owner is not None:
            owner.check()
            if owner.has_stopped:
                self.owner = None
        for worker in self.former:
            worker.check()
        self.ledger.check_nothing_is_lost()

    async def _act(self, action: Action) -> None:  # noqa: C901 - one flat table
        match action:
            case Produce() | Arrive() | Retain() | Stream():
                self._act_on_log(action)
            case Command() | Replay() | Edit():
                self.people.act(action)
                if not action.late:
                    self._hear()
            case Hear():
                self._hear()
            case Pass(seconds):
                await asyncio.sleep(seconds)
            case Crash(rows_stored):
                await self._crash(rows_stored)
            case TakeOver():
                await self._take_over()
            case Stop() | Commit() | Lapse() | Confirm():
                self._act_on_owner(action)
            case Answer():
                self._answer(action)
            case Rows() | Fetch() | Feed() | Checkpoint() | DeadLetter():
                for worker in self._workers():
                    self._act_on(worker, action)

    def _act_on_log(self, action: Produce | Arrive | Retain | Stream) -> None:
        match action:
            case Produce(keys):
                self._produce(keys)
            case Arrive(keys):
                self._produce(keys)
                self._started().stream(len(self.log.records))
            case Stream(events):
                self._started().stream(events)
            case Retain(records):
                kept = self.log.read(self.log.begin, records + 1)
                if len(kept) > records:
                    self.log.cut(kept[-1].offset)

    def _produce(self, keys: str) -> None:
        for key in keys:
            if key == ".":
                self.log.end += 1
            else:
                self.log.append(key.encode())

    def _act_on_owner(self, action: Stop | Commit | Lapse | Confirm) -> None:
        owner = self.owner
        if owner is None:
            return
        match action:
            case Stop():
                owner.stop()
            case Lapse():
                owner.lease.end()
            case Confirm():
                owner.lease.confirm()
            case Commit(how):
                if how != "lost":
                    owner.commit(owner.dispatcher.offsets_to_commit(), is_heard=how == "done")

    def _answer(self, action: Answer) -> None:
        pending = [attempt for worker in self._workers() for attempt in worker.receiver.pending]
        if action.number != "all":
            pending = [pending[action.number % len(pending)]] if pending else []
        for attempt in pending:
            attempt.answer(OUTCOMES[action.outcome])

    def _act_on(self, worker: Worker, action: Rows | Fetch | Feed | Checkpoint | DeadLetter) -> None:
        match action:
            case Rows(how, count):
                worker.get_rows(how, count)
            case Fetch(records, feeds):
                worker.fetch(records)
                if feeds:
                    worker.feed()
            case Feed():
                worker.feed()
            case Checkpoint(sweep):
                self._checkpoint(worker, sweep=sweep)
            case DeadLetter(is_taken):
                if worker.letters.pending:
                    worker.letters.answer(0, is_taken=is_taken)

    def _checkpoint(self, worker: Worker, *, sweep: bool) -> None:
        for dispatcher in worker.sources:
            dispatcher.checkpoint()
            for partition in dispatcher.partitions() if sweep else ():
                partition.sweep()

    def _workers(self) -> list[Worker]:
        return [*self.former, *([] if self.owner is None else [self.owner])]

    # ----------------------------------------------------------- workers

    def _started(self) -> Worker:
        if self.owner is None:
            self.owner = Worker(self.ledger, self.people.changes, self.setting, self.neighbour)
            self.owner.start()
        return self.owner

    async def _crash(self, rows_stored: int) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            self.ledger.incidents += 1
            if owner.rows is not None:
                owner.rows.store(rows_stored)
            if owner.beside is not None:
                owner.beside.get_rows("stored", rows_stored)
            await owner.kill()

    async def _take_over(self) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            self.ledger.incidents += 1
            owner.is_owner = False
            owner.lease.end()
            self.former.append(owner)
        self._started()

    async def _end(self) -> None:
        for worker in self._workers():
            await worker.kill()
        self.former.clear()
        self.owner = None

    def _hear(self) -> None:
        for worker in self._workers():
            worker.read_registry()

    def _next_of(self, name: str) -> int:
        for worker in reversed(self._workers()):
            for lane in worker.lanes:
                if lane.name == name:
                    return lane.next
        row = self.rows.rows.get(name.encode())
        return self.ledger.committed if row is None else row.next

    # ----------------------------------------------------------- the end

    async def _come_to_rest(self) -> None:
        """Check that without further failures all events are delivered, and that a restart does not send them again."""
        for worker in self.former:
            await worker.kill()
        self.former.clear()
        await self._settle(20)
        self._hear()
        await self._resume_all()
        await self._rest()
        self.ledger.check_the_table(self.people.specs)
        if self.neighbour is not None:
            self.neighbour.check(self.ledger, self.people.specs, picks=self.setting.picks)
        self._check_counters(self._started())
        self.ledger.frozen = True
        self._note("everything is done: a clean stop, and another worker")
        await self._stop_cleanly()
        await self._rest()
        self._note("a crash, and another worker")
        await self._crash(0)
        await self._rest()

    async def _resume_all(self) -> None:
        """Resume the subscriptions that are stopped, or whose rows say FAILURE.

        Subscriptions that are probed are left out: they have to recover by themselves.
        """
        for _ in range(4):
            if self.owner is not None and not self.owner.is_stopping:
                break
            await self._round()
        for spec in list(self.people.specs.values()):
            failed = any(lane.name == spec.id and _waits_for_people(lane) for lane in self._started().lanes)
            if failed or spec.desired_status is not DesiredStatus.DELIVER:
                self.people.resume(spec.id)
        self._hear()

    async def _stop_cleanly(self) -> None:
        owner = self._started()
        owner.stop()
        for _ in range(ROUNDS):
            if self.owner is None:
                return
            owner.get_rows("landed", 100)
            await self._settle(20)
            await asyncio.sleep(1.0)
        raise ViolationError("a clean stop does not end")

    async def _rest(self) -> None:
        for _ in range(ROUNDS + ROUNDS_PER_EVENT * len(self.log.records)):
            await self._round()
            owner = self.owner
            if owner is not None and not owner.is_stopping and owner.is_at_rest():
                return
        raise ViolationError(f"it does not come to rest: {self._describe()}")

    async def _round(self) -> None:
        owner = self._started()
        owner.lease.confirm()
        owner.read_registry()
        owner.stream(5)
        for attempt in list(owner.receiver.pending):
            attempt.answer(Delivered(200))
        for index in range(len(owner.letters.pending)):
            owner.letters.answer(index, is_taken=True)
        owner.get_rows("landed", 100)
        owner.fetch(100)
        while owner.stretches:
            owner.feed()
        await self._settle(20)
        if self.owner is owner and not owner.is_stopping:
            owner.commit(owner.dispatcher.offsets_to_commit())
            self._checkpoint(owner, sweep=True)
            if not owner.receiver.pending and not owner.is_wanting:
                await asyncio.sleep(LONG_SECONDS if not owner.is_at_rest() else 0)
            elif self.setting.rate is not None:
                await asyncio.sleep(1.0)
        else:
            await asyncio.sleep(1.0)
        await self._settle(20)

    def _check_counters(self, owner: Worker) -> None:
        if owner.slots.taken or owner.telemetry.in_flight or owner.dispatcher.memory.used:
            raise ViolationError(
                f"at rest, yet {owner.slots.taken} slots, {owner.telemetry.in_flight} attempts and "
                f"{owner.dispatcher.memory.used} bytes are booked"
            )

    def _describe(self) -> str:
        owner = self.owner
        if owner is None:
            return "no worker"
        partition = owner.partition
        window = None if partition is None else (partition.window.committable, partition.dispatched_to)
        return f"window {window}, committed {self.ledger.committed}, position {owner.position}; {owner.lanes}"


def _waits_for_people(lane: Lane) -> bool:
    probes = None if lane.cause is None else lane.cause.probes
    return lane.state.is_halted and (probes is None or probes.next_at is None)
