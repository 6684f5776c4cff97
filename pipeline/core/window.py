"""The unsettled offsets of one partition, which determine the offset to commit. Pure: no clock, no I/O.

    log      40 41 42 43 44 45 46 47        47 is `dispatched_to`: the offset after the last one given to the lanes
    window      41    43    45              dispatched and not settled
                 ^ committable: the first offset in the window; `dispatched_to` if there is none

Only unsettled offsets are kept. An offset leaves the window when it is settled, or when a durable cursor row keeps its
event. From then on, later events of the lane do not enter the window, so a lane with a million waiting events costs
nothing here. Lanes add offsets (held_offsets.py); `Partition` does the rest.

Offsets that are settled out of order are listed in the note of the commit (ahead.py), so that the next owner does not
send their events again.
"""

from collections import deque

from pipeline.core.ahead import REACH


class Window:
    """The unsettled offsets of one partition, in order.

    Args:
        start: the offset at which the partition was opened.
        ahead: the offsets from *start* on that were settled according to the former owner's note, as bits.

    Attributes:
        dispatched_to: the offset after the last one that was dispatched.
        noted_to: the offset at which the former owner's note ends.
        has_news: whether an offset has been settled since the last commit with a note.
    """

    __slots__ = (
        "_ahead",
        "_base",
        "_batches",
        "_far",
        "_passed",
        "_unsettled",
        "dispatched_to",
        "has_news",
        "noted_to",
    )

    def __init__(self, start: int, ahead: int = 0) -> None:
        self.dispatched_to = start
        self.noted_to = start + ahead.bit_length()
        self.has_news = False
        self._unsettled: deque[int] = deque()
        # Offsets that have left the window. They are still in `_unsettled`, after an offset that has not left the
        # window.
        self._passed: set[int] = set()
        # The settled offsets from `_base` on: bit n stands for the offset `_base + n`.
        self._base = start
        self._ahead = ahead
        # Settled offsets that are too far ahead for a note now. A later note has to contain them. If a note had only
        # later events of a lane, the next owner would send the earlier event after them.
        self._far: set[int] = set()
        # The end of each batch, and when the batch arrived: enough to find the age of any offset.
        self._batches: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        """The number of unsettled offsets."""
        return len(self._unsettled) - len(self._passed)

    @property
    def load(self) -> int:
        """The number of unsettled deliveries."""
        return len(self)

    @property
    def committable(self) -> int:
        """The offset that may be committed: everything below it is settled, or kept by a cursor row."""
        return self._unsettled[0] if self._unsettled else self.dispatched_to

    def advance(self, dispatched_to: int, now: float) -> None:
        """Record that a batch was dispatched. *dispatched_to* is the offset after its last record."""
        if dispatched_to <= self.dispatched_to:
            raise ValueError(f"dispatched_to may only grow: {self.dispatched_to} -> {dispatched_to}")
        head = self._unsettled[0] if self._unsettled else dispatched_to
        self._pass_over(head)
        self.dispatched_to = dispatched_to
        self._batches.append((dispatched_to, now))

    def _pass_over(self, head: int) -> None:
        batches = self._batches
        while batches and batches[0][0] <= head:
            batches.popleft()

    def add(self, offset: int) -> None:
        """Add an offset that is dispatched and not settled. Offsets have to be added in ascending order."""
        self._unsettled.append(offset)

    def settle(self, offset: int) -> None:
        """Settle an offset that was added. Call it once per offset."""
        self.mark_settled(offset)
        self.let_go(offset)

    def mark_settled(self, offset: int) -> None:
        """Mark a dispatched offset as settled. The notes of commits will contain it."""
        if offset <= self.committable:
            return
        bit = offset - self._base
        if bit < REACH:
            self._ahead |= 1 << bit
            self.has_news = True
        else:
            self._far.add(offset)

    def let_go(self, offset: int) -> None:
        """Remove an offset that was added, because it is settled or kept by a cursor row. Call it once per offset."""
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
        passed = head - self._base
        self._ahead >>= passed
        self._base = head
        if passed and self._far:
            near = {offset for offset in self._far if offset < head + REACH}
            self._far -= near
            for offset in near:
                if offset > head:
                    self._ahead |= 1 << offset - head

    def ahead_of(self, offset: int) -> int:
        """The settled offsets from *offset* on, as bits. *offset* is a recent value of `committable`."""
        self._follow_head()
        self.has_news = False
        passed = self._base - offset
        return self._ahead << passed | (1 << passed) - 1

    def is_noted(self, offset: int) -> bool:
        """Whether the former owner has settled *offset*, which must be before `noted_to` and not dispatched yet."""
        return bool(self._ahead >> (offset - self._base) & 1)

    def oldest_since(self) -> float | None:
        """When the first unsettled offset was dispatched; None if the window is empty."""
        if not self._unsettled:
            return None
        self._pass_over(self._unsettled[0])
        return self._batches[0][1]

    def dispatched_before(self, moment: float) -> int:
        """The end of the batches that were dispatched before *moment*; 0 if there are none."""
        end = 0
        for batch_end, came in self._batches:
            if came >= moment:
                break
            end = batch_end
        return end


class SharedWindow(Window):
    """A window in which several lanes may hold the same offset, for `routing: match`.

    When the last of its lanes releases an offset, the offset leaves the window and is noted as settled. A lane that
    released an offset without settling it has a durable row, and lanes with a row ignore notes.
    """

    __slots__ = ("_holders", "_load")

    def __init__(self, start: int, ahead: int = 0) -> None:
        super().__init__(start, ahead)
        self._holders: dict[int, int] = {}
        self._load = 0

    @property
    def load(self) -> int:
        """The number of unsettled deliveries: each lane that holds an offset counts."""
        return self._load

    def add(self, offset: int) -> None:
        """Add the offset for one more lane."""
        held = self._holders.get(offset, 0)
        self._holders[offset] = held + 1
        self._load += 1
        if not held:
            super().add(offset)

    def mark_settled(self, offset: int) -> None:
        """Mark an offset as settled by a lane that does not hold it."""
        if offset not in self._holders:
            super().mark_settled(offset)

    def settle(self, offset: int) -> None:
        """Settle the offset for a lane that holds it."""
        self.let_go(offset)

    def let_go(self, offset: int) -> None:
        """Release the offset for a lane that holds it."""
        held = self._holders[offset]
        self._load -= 1
        if held > 1:
            self._holders[offset] = held - 1
            return
        del self._holders[offset]
        super().mark_settled(offset)
        super().let_go(offset)
