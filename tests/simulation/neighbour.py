"""A second source topic in a simulation: it has the same events, and every request about one of them succeeds.

Both topics have the same worker, and share subscriptions, slots and memory. No failure or command in the topic of the
ledger may lose or repeat an event of the second topic.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pipeline.core.ahead import pack, unpack
from pipeline.core.dispatcher import Dispatcher
from pipeline.core.lane import Lane
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Event, PlainEvent
from pipeline.core.partition import Partition
from pipeline.core.ports import Registry
from pipeline.core.subscription import Qos, Subscription
from tests.simulation.ledger import Ledger, Place, ViolationError
from tests.support.fakes import MemoryReader, MemoryRows, RowTopic, SourceLog

OTHER: Final = "others"


class _Mirror(SourceLog):
    """The log of the second topic."""

    def __init__(self, log: SourceLog) -> None:
        super().__init__(log.records)
        self._log = log

    def read(self, start: int, count: int) -> list[PlainEvent]:
        self.begin, self.end = self._log.begin, self._log.end
        return [replace(record, topic=OTHER) for record in super().read(start, count)]


@dataclass(slots=True)
class Neighbour:
    """The durable state of the second topic, and what its receivers got.

    Attributes:
        sent: how often each event was sent.
        highest: by subscription, the highest offset that was sent.
    """

    log: SourceLog
    rows: RowTopic = field(default_factory=RowTopic)
    committed: int = 0
    ahead: int = 0
    begun_to: int = 0
    sent: Counter[Place] = field(default_factory=Counter)
    highest: Counter[str] = field(default_factory=Counter)

    def send(self, subscription: Subscription, event: Event, ledger: Ledger) -> None:
        """Record a request that is sent. Raises: ViolationError."""
        place = name, offset = subscription.id, event.offset
        is_first = not self.sent[place] and ledger.replayed[name] < 0 and ledger.levels[name] == {Qos.AT_LEAST_ONCE}
        if is_first and offset < self.highest[name]:
            raise ViolationError(f"{name}: {offset} of {OTHER} is sent for the first time after {self.highest[name]}")
        self.sent[place] += 1
        self.highest[name] = max(self.highest[name], offset)

    def check(self, ledger: Ledger, specs: dict[str, Subscription], *, picks: bool) -> None:
        """Check that no event is missing or repeated without a reason. Call this when everything is at rest."""
        for record in self.log.records:
            for name in ledger.names_of(record):
                if not self._is_owed(name, record.offset, ledger, specs) or (picks and record.offset % 3 == 0):
                    continue
                count = self.sent[name, record.offset]
                if not count:
                    raise ViolationError(f"{name}: {record.offset} of {OTHER} was never delivered")
                if count > 1 and not ledger.incidents and ledger.replayed[name] < 0:
                    raise ViolationError(f"{name}: {record.offset} of {OTHER} is repeated though every stop was clean")

    def _is_owed(self, name: str, offset: int, ledger: Ledger, specs: dict[str, Subscription]) -> bool:
        """Whether the event must be delivered: its subscription always existed, with a level that repeats events."""
        spec = specs.get(name)
        is_first = spec is not None and spec.created < len(Qos) and name not in ledger.deleted
        is_kept = offset >= max(self.log.begin, ledger.discarded[name])
        return is_first and is_kept and ledger.levels[name] == {Qos.AT_LEAST_ONCE}


class Beside:
    """The second topic of a worker.

    Args:
        first: the dispatcher of the ledger's topic, with which the second topic shares everything.
        registry: the subscriptions.
        neighbour: the durable state.
    """

    def __init__(self, first: Dispatcher, registry: Registry, neighbour: Neighbour) -> None:
        self.neighbour = neighbour
        self.log = _Mirror(neighbour.log)
        self.reader = MemoryReader(self.log)
        self.rows: MemoryRows | None = None
        self.position = neighbour.committed
        self.dispatcher = Dispatcher(
            OTHER,
            deliver=first.deliver,
            rows_of=self._rows_of,
            registry=registry,
            reader=self.reader,
            limits=first.limits,
            memory=first.memory,
            on_closed=lambda _number: None,
            matching=first.matching,
        )

    def _rows_of(self, _number: int, log: LogBounds) -> MemoryRows:
        self.rows = MemoryRows(self.neighbour.rows, log)
        return self.rows

    @property
    def partition(self) -> Partition | None:
        return next(iter(self.dispatcher.partitions()), None)

    @property
    def lanes(self) -> list[Lane]:
        return [] if self.partition is None else list(self.partition.lanes.values())

    async def open(self) -> None:
        bounds = LogBounds.unseen(None)
        log = replace(bounds, ahead=self.neighbour.ahead, begun_to=self.neighbour.begun_to)
        await self.dispatcher.open({0: self.position}, {0: log})

    def stream(self, count: int) -> None:
        """Dispatch the next batch."""
        if self.partition is None:
            return
        batch = self.log.read(self.position, count)
        if batch:
            self.position = batch[-1].offset + 1
            self.dispatcher.dispatch(0, batch)
        elif self.log.end > self.position:
            handed_out, self.position = self.position, self.log.end
            self.dispatcher.pass_over(0, handed_out, self.position)

    def commit(self, *, is_heard: bool) -> None:
        offsets = self.dispatcher.offsets_to_commit()
        if not offsets:
            return
        [offset], begun_to, lasting = offsets.values(), self.dispatcher.begun_to(0), self.neighbour
        note = pack(offset, self.dispatcher.ahead_of(0, offset))
        lasting.committed, lasting.ahead, lasting.begun_to = offset, unpack(note, offset), begun_to or 0
        if is_heard:
            self.dispatcher.committed(offsets, {0: begun_to})

    def get_rows(self, how: Literal["landed", "stored"], count: int) -> None:
        if self.rows is None:
            return
        if how == "landed":
            self.rows.land(count)
        else:
            self.rows.store(count)

    def is_at_rest(self) -> bool:
        partition = self.partition
        return (
            partition is not None
            and not partition._runners
            and self.rows is not None
            and not self.rows.pending
            and not len(partition.window)
            and self.neighbour.committed == partition.dispatched_to == self.position == self.neighbour.log.end
            and all(lane.is_idle for lane in self.lanes)
        )
