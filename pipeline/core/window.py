"""What may be committed of one partition. Pure: no clock, no I/O.

    log      40 41 42 43 44 45 46 47        47 is `dispatched`: the offset after the last one given to the lanes
    window      41    43    45              dispatched and not settled
                 ^ committable: the first unsettled offset; `dispatched` when there is none

Only unsettled offsets are kept. What is settled at sight never enters, so a lane with a million events behind its
cursor costs nothing here. Lanes add to a window (held_offsets.py); `Partition` does the rest.
"""

from collections import deque


class Window:
    """The unsettled offsets of one partition, in order.

    Args:
        start: the offset at which the partition was opened.
    """

    __slots__ = ("_batches", "_settled", "_unsettled", "dispatched")

    def __init__(self, start: int) -> None:
        self.dispatched = start
        self._unsettled: deque[int] = deque()
        # Offsets that are settled but stand behind an unsettled one; they leave with it.
        self._settled: set[int] = set()
        # (end of batch, when it came): tells the age of any offset without a time stamp per event.
        self._batches: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        """How many offsets are not settled."""
        return len(self._unsettled) - len(self._settled)

    @property
    def committable(self) -> int:
        """The offset that may be committed: everything below it is settled."""
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
        unsettled = self._unsettled
        if unsettled[0] != offset:
            self._settled.add(offset)
            return
        unsettled.popleft()
        settled = self._settled
        while settled and unsettled[0] in settled:
            settled.remove(unsettled.popleft())

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
