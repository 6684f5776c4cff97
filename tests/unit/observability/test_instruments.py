"""Histogram, rate and limit on log lines: observability/instruments.py."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.observability.instruments import Histogram, LineLimit, MinuteRate, OffsetRanges


class Watch:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_value_equal_to_a_bound_is_counted_below_the_bound() -> None:
    histogram = Histogram([0.1, 1.0])

    for value in (0.05, 0.1, 0.5, 3.0):
        histogram.observe(value)

    assert histogram.cumulative() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert histogram.total == 3.65


def test_the_rate_is_the_mean_over_the_seconds_since_the_start() -> None:
    watch = Watch()
    rate = MinuteRate(watch)
    rate.add(10)
    assert rate.per_second() == 0.0

    watch.seconds += 1
    rate.add(99)  # the present second doesn't count yet
    assert rate.per_second() == 10.0

    watch.seconds += 9
    assert rate.per_second() == 10.9


def test_the_rate_covers_only_the_last_minute() -> None:
    watch = Watch()
    rate = MinuteRate(watch)
    rate.add(600)

    watch.seconds += 60
    assert rate.per_second() == 10.0

    watch.seconds += 1
    assert rate.per_second() == 0.0


def test_the_rate_is_right_after_a_long_silence() -> None:
    watch = Watch()
    rate = MinuteRate(watch)
    for _ in range(100):
        rate.add(5)
        watch.seconds += 1
    assert rate.per_second() == 5.0

    watch.seconds += 100_000
    assert rate.per_second() == 0.0


def test_suppressed_lines_are_counted_per_key_and_interval() -> None:
    watch = Watch()
    limit = LineLimit(10.0, monotonic=watch)

    assert limit.passes("a") == 0
    assert limit.passes("a") is None
    assert limit.passes("a", 4) is None
    assert limit.passes("b") == 0

    watch.seconds += 10
    assert limit.passes("a") == 5
    watch.seconds += 10
    assert limit.passes("a") == 0


def test_the_limit_remembers_a_bounded_number_of_keys() -> None:
    limit = LineLimit(10.0, most_keys=2, monotonic=Watch())
    for key in ("a", "b", "c"):
        assert limit.passes(key) == 0

    assert len(limit._keys) == 2
    assert limit.passes("c") is None
    assert limit.passes("b") is None
    assert limit.passes("a") == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_each_offset_counts_once(ranges: list[tuple[int, int]]) -> None:
    seen: set[int] = set()
    counted = OffsetRanges()
    for start, end in ranges:
        found = set(range(start, end))
        assert counted.add(start, end) == len(found - seen)
        seen |= found


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4))))
def test_ranges_limited_in_number_count_no_offset_twice(ranges: list[tuple[int, int]]) -> None:
    counted = OffsetRanges(most=2)
    seen: set[int] = set()
    for start, size in ranges:
        found = set(range(start, start + size))
        assert counted.add(start, start + size) <= len(found - seen)
        assert len(counted) <= 2
        seen |= found
