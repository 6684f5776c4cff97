"""Samples and plots of the last 15 minutes."""

from dataclasses import replace

import pytest

from pipeline.cluster.state import WorkerState
from pipeline.observability.telemetry import Telemetry
from pipeline.web.pages.history import SAMPLES, RateHistory, quantile
from pipeline.web.pages.plots import HEIGHT, WIDTH, plot
from tests.support.fixed_view import NOW

WORKER = WorkerState("a:6066", "1", NOW, NOW, is_gone=False, ready=True, problem=None, partitions=(),
                     delivered_per_second=30.0, failed_per_second=2.0, queued=0, in_flight=0)  # fmt: skip


def test_rates_are_the_sum_of_all_present_workers() -> None:
    workers = [WORKER, replace(WORKER, name="b"), replace(WORKER, name="c", is_gone=True)]
    history = RateHistory(lambda: workers, Telemetry())
    history.take()
    [rates, _] = history.plots()
    assert [(line.name, line.now) for line in rates.lines] == [("delivered", "60"), ("failed", "4.0")]


def test_durations_cover_the_time_since_the_previous_sample() -> None:
    telemetry = Telemetry()
    telemetry.attempt_seconds.observe(9.0)
    history = RateHistory(lambda: None, telemetry)
    for _ in range(100):
        telemetry.attempt_seconds.observe(0.02)
    history.take()
    [rates, times] = history.plots()
    assert [line.now for line in rates.lines] == [None, None]
    assert not rates.has_values
    assert [line.now for line in times.lines] == ["18 ms", "24 ms"]
    history.take()
    assert [line.now for line in history.plots()[1].lines] == [None, None]


def test_a_process_that_delivers_nothing_shows_no_durations() -> None:
    history = RateHistory(lambda: [WORKER], None)
    history.take()
    assert [each.title for each in history.plots()] == ["Attempts per second, all workers"]


def test_the_history_is_bounded() -> None:
    history = RateHistory(lambda: [WORKER], Telemetry())
    for _ in range(3 * SAMPLES):
        history.take()
    assert history.plots()[0].lines[0].path.count("L") == SAMPLES - 1


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ([("1.0", 0), ("2.0", 0), ("+Inf", 0)], 0.5, None),
        ([("1.0", 0), ("2.0", 10), ("+Inf", 10)], 0.5, 1.5),
        ([("1.0", 10), ("2.0", 10), ("+Inf", 10)], 0.9, 0.9),
        ([("1.0", 0), ("2.0", 0), ("+Inf", 10)], 0.5, 2.0),
    ],
)
def test_a_quantile_lies_within_its_bucket(counts: list[tuple[str, int]], share: float, value: float | None) -> None:
    assert quantile(counts, share) == value


def test_a_plot_ends_at_the_right_edge_and_shows_gaps() -> None:
    found = plot("Rate", [("sent", "good", [0.0, None, 4.0, 2.0])], str, 5)
    assert found.top == "5.0"
    assert found.lines[0].path == f"M150.0 {HEIGHT}.0h0M450.0 24.0h0L{WIDTH}.0 72.0"
    assert found.summary == "Rate, now: sent 2.0; the highest value of the last 15 minutes is at most 5.0"


def test_a_plot_without_values_says_so() -> None:
    found = plot("Rate", [("sent", "good", [])], str, 5)
    assert (found.has_values, found.lines[0].now) == (False, None)
