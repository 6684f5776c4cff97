"""The instruments of observability/telemetry.py: a histogram, a rate, a set of offsets, and a limit on log lines.

All are used from one event loop. A call takes much less than a microsecond.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate
from typing import Final

from pipeline.core.bounded import Bounded

Monotonic = Callable[[], float]
"""Returns monotonic seconds: `time.monotonic`, or the virtual clock of a test."""

SECONDS_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets for attempts, in seconds: from an answer over loopback to a long timeout."""

AGE_BOUNDS: Final = (
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1_800.0,
    7_200.0,
    86_400.0,
)
"""Upper bounds of the buckets for the age of events at delivery, in seconds: from a fast receiver to a day's outage."""


class Histogram:
    """Counts observations in buckets with upper bounds, as Prometheus does (`le`: less than or equal)."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS_BOUNDS) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count *value*."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, int]]:
        """Pairs of an upper bound and the number of observations up to it. The last bound is `+Inf`."""
        labels = [*(str(bound) for bound in self._bounds), "+Inf"]
        return list(zip(labels, accumulate(self._counts), strict=True))


class MinuteRate:
    """The rate per second over the last minute, from a ring of counts per second that advances when it is used."""

    WINDOW_SECONDS: Final = 60
    __slots__ = ("_counts", "_monotonic", "_second", "_since")

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic
        self._counts = [0] * (self.WINDOW_SECONDS + 1)  # a minute and the current second
        self._since = self._second = int(monotonic())

    def add(self, count: int) -> None:
        """Add *count* to the current second."""
        second = int(self._monotonic())
        if second != self._second:
            self._turn(second)
        self._counts[second % len(self._counts)] += count

    def per_second(self) -> float:
        """The mean over the complete seconds of the last minute, or since the start if that was later."""
        second = int(self._monotonic())
        self._turn(second)
        elapsed = min(self.WINDOW_SECONDS, second - self._since)
        under_way = self._counts[second % len(self._counts)]
        return (sum(self._counts) - under_way) / elapsed if elapsed else 0.0

    def _turn(self, second: int) -> None:
        size = len(self._counts)
        for passed in range(max(self._second + 1, second - size + 1), second + 1):
            self._counts[passed % size] = 0
        self._second = second


class OffsetRanges:
    """Counts each offset of one partition once, however often it is added.

    Args:
        most: how many ranges are stored. With more ranges, the gap between the two lowest ranges counts as already
            added. So the sum may be too low, but never too high.
    """

    __slots__ = ("_most", "_ranges")

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._ranges: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._ranges)

    def add(self, start: int, end: int) -> int:
        """Add the offsets from *start* up to *end* (exclusive); returns how many of them are new."""
        if end <= start:
            return 0
        apart = [each for each in self._ranges if each[1] < start or end < each[0]]
        touching = [each for each in self._ranges if each not in apart]
        known = sum(max(0, min(high, end) - max(low, start)) for low, high in touching)
        merged = (min([start, *(low for low, _ in touching)]), max([end, *(high for _, high in touching)]))
        self._ranges = sorted([*apart, merged])
        if len(self._ranges) > self._most:
            self._ranges[:2] = [(self._ranges[0][0], self._ranges[1][1])]
        return end - start - known


class LineLimit:
    """Allows one log line per key and interval, and counts the suppressed lines.

    Args:
        interval_seconds: the shortest time between two lines of one key.
        most_keys: how many keys are stored; the key with the oldest line is removed first.
    """

    __slots__ = ("_interval", "_keys", "_monotonic")

    def __init__(
        self, interval_seconds: float = 10.0, *, most_keys: int = 10_000, monotonic: Monotonic = time.monotonic
    ) -> None:
        self._interval = interval_seconds
        self._monotonic = monotonic
        self._keys: Bounded[Hashable, tuple[float, int]] = Bounded(most_keys)

    def passes(self, key: Hashable, count: int = 1) -> int | None:
        """The number of lines of *key* suppressed since the last written line; None if no line may be written now."""
        now = self._monotonic()
        last_at, suppressed = self._keys.get(key, (None, 0))
        if last_at is not None and now - last_at < self._interval:
            self._keys[key] = (last_at, suppressed + count)
            return None
        self._keys.pop(key, None)  # moved to the end, so that the keys are ordered by the time of their last line
        self._keys[key] = (now, 0)
        return suppressed

    def forget(self, key: Hashable) -> None:
        """Allow the next line of *key* at once."""
        self._keys.pop(key, None)
