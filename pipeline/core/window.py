"""What may be committed of one partition. Pure: no clock, no I/O.

    log      40 41 42 43 44 45 46 47        47 is `dispatched`: the offset after the last one given to the lanes
    window      41    43    45              dispatched and not settled
                 ^ committable: the first unsettled offset; `dispatched` when there is none

Only unsettled offsets are kept. What a cursor row covers never enters, so a lane with a million waiting events costs
nothing here. Lanes add to a window (held_offsets.py); `Partition` does the rest.

An offset leaves the window when it is settled, or when a durable cursor row keeps its event. Those that are settled
before an earlier one are noted with the commit (ahead.py): the next owner does not send them again.
"""

from collections import deque

from pipeline.core.ahead import REACH


class Window:
    """The unsettled offsets of one partition, in order.

    Args:
        start: the offset at which the partition was opened.
        ahead: the former owner's note of what is settled from there on.

    Attributes:
        dispatched: the offset after the last one that was dispatched.
        noted_to: the former owner's note ends before this offset.
        has_news: something is settled that the last note did not say.
    """

    __slots__ = ("_ahead", "_batches", "_far", "_origin", "_passed", "_unsettled", "dispatched", "has_news", "noted_to")

    def __init__(self, start: int, ahead: int = 0) -> None:
        self.dispatched = start
        self.noted_to = start + ahead.bit_length()
        self.has_news = False
        self._unsettled: deque[int] = deque()
        # Offsets that have left but stand behind an unsettled one, which takes them along when it leaves.
        self._passed: set[int] = set()
        # What is settled from `_origin` on, as bits: bit n stands for the offset `_origin + n`.
        self._origin = start
        self._ahead = ahead
        # The same for offsets that are too far ahead. They follow as soon as the head is nearer: a lane whose later
        # events alone were noted would send an earlier one again, after them.
        self._far: set[int] = set()
        # (end of batch, when it came): tells the age of any offset without a time stamp per event.
        self._batches: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        """How many offsets are not settled."""
        return len(self._unsettled) - len(self._passed)

    @property
    def load(self) -> int:
        """How many deliveries are not settled."""
        return len(self)

    @property
    def committable(self) -> int:
        """The offset that may be committed: everything below it is settled, or kept by a cursor row."""
        return self._unsettled[0] if self._unsettled else self.dispatched

    def advance(self, dispatched: int, now: float) -> None:
        """A batch was dispatched: *dispatched* is the offset after its last record, and greater than before."""
        if dispatched <= self.dispatched:
            raise ValueError(f"dispatched may only grow: {self.dispatched} -> {dispatched}")
        head = self._unsettled[0] if self._unsettled else dispatched
        self._pass_over(head)
        self.dispatched = dispatched
        self._batches.append((dispatched, now))

    def _pass_over(self, head: int) -> None:
        batches = self._batches
        while batches and batches[0][0] <= head:
            batches.popleft()

    def add(self, offset: int) -> None:
        """The offset is dispatched and not settled. Offsets come in growing order."""
        self._unsettled.append(offset)

    def settle(self, offset: int) -> None:
        """The offset is settled: once, and only one that was added."""
        self.note(offset)
        self.let_go(offset)

    def note(self, offset: int) -> None:
        """The offset, which was dispatched, is settled: commits say so for as long as it is not before theirs."""
        if offset <= self.committable:
            return
        bit = offset - self._origin
        if bit < REACH:
            self._ahead |= 1 << bit
            self.has_news = True
        else:
            self._far.add(offset)

    def let_go(self, offset: int) -> None:
        """The offset leaves, settled or kept by a cursor row: once, and only one that was added."""
        unsettled = self._unsettled
        if unsettled[0] != offset:
            self._passed.add(offset)
            return
        unsettled.popleft()
        passed = self._passed
        while passed and unsettled[0] in passed:
            passed.remove(unsettled.popleft())

    def _follow_head(self) -> None:
        head = self.committable
        passed = head - self._origin
        self._ahead >>= passed
        self._origin = head
        if passed and self._far:
            near = {offset for offset in self._far if offset < head + REACH}
            self._far -= near
            for offset in near:
                if offset > head:
                    self._ahead |= 1 << offset - head

    def ahead_of(self, offset: int) -> int:
        """What is settled from *offset* on, which was committable a moment ago, as bits."""
        self._follow_head()
        self.has_news = False
        passed = self._origin - offset
        return self._ahead << passed | (1 << passed) - 1

    def is_noted(self, offset: int) -> bool:
        """Whether the former owner has settled an offset, before `noted_to`, that was not dispatched yet."""
        return bool(self._ahead >> (offset - self._origin) & 1)

    def oldest_since(self) -> float | None:
        """When the oldest unsettled offset was dispatched; None for an empty window."""
        if not self._unsettled:
            return None
        self._pass_over(self._unsettled[0])
        return self._batches[0][1]

    def dispatched_before(self, moment: float) -> int:
        """The offset below which everything was dispatched before *moment*; 0 when nothing was."""
        end = 0
        for batch_end, came in self._batches:
            if came >= moment:
                break
            end = batch_end
        return end


class SharedWindow(Window):
    """A window whose offsets several lanes may hold, for `routing: match`.

    An offset leaves when the last of its lanes lets go. From then on it is noted as settled. A lane that let go
    without settling it has a durable row, and such a lane does not trust notes.
    """

    __slots__ = ("_holders", "_load")

    def __init__(self, start: int, ahead: int = 0) -> None:
        super().__init__(start, ahead)
        self._holders: dict[int, int] = {}
        self._load = 0

    @property
    def load(self) -> int:
        """How many deliveries are not settled: each lane that holds an offset counts."""
        return self._load

    def add(self, offset: int) -> None:
        """One more lane holds the offset."""
        held = self._holders.get(offset, 0)
        self._holders[offset] = held + 1
        self._load += 1
        if not held:
            super().add(offset)

    def note(self, offset: int) -> None:
        """A lane that does not hold the offset has settled it."""
        if offset not in self._holders:
            super().note(offset)

    def settle(self, offset: int) -> None:
        """A lane that holds the offset has settled it."""
        self.let_go(offset)

    def let_go(self, offset: int) -> None:
        """A lane that holds the offset does so no more."""
        held = self._holders[offset]
        self._load -= 1
        if held > 1:
            self._holders[offset] = held - 1
            return
        del self._holders[offset]
        super().note(offset)
        super().let_go(offset)
