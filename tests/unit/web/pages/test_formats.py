"""The formats of numbers and times on the pages."""

import pytest

from pipeline.web.pages.formats import ago, duration, milliseconds, plural, rate, span, waiting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7200, "2 h"),
        (7_500, "2 h 5 min"),
        (7_205, "2 h"),
        (90_000, "1 d 1 h"),
        (864_000, "10 d"),
    ],
)
def test_a_length_of_time_is_shown_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_time_is_shown_relative_to_now() -> None:
    assert [ago(at, 100.0) for at in (40.0, 99.8, 130.0)] == ["1 min ago", "now", "in 30 s"]


def test_durations_rates_and_numbers_are_short() -> None:
    assert [duration(each) for each in (0.0004, 0.01, 0.012, 0.99, 1.0, 1.25, 10.0, 31.0)] == [
        "0.4 ms",
        "10 ms",
        "12 ms",
        "990 ms",
        "1.0 s",
        "1.2 s",
        "10 s",
        "31 s",
    ]
    assert [rate(each) for each in (0, 0.04, 3.21, 10.0, 12.3, 5321.4)] == ["0", "0.0", "3.2", "10", "12", "5,321"]
    assert [plural(each, "event") for each in (0, 1, 1200)] == ["0 events", "1 event", "1,200 events"]


def test_whole_milliseconds_show_no_decimals_they_do_not_have() -> None:
    assert [milliseconds(each) for each in (0, 1, 999, 1000, 1250)] == [
        "under 1 ms",
        "1 ms",
        "999 ms",
        "1.0 s",
        "1.2 s",
    ]


def test_a_number_of_waiting_events_shows_its_accuracy() -> None:
    assert [waiting(1200, 1200), waiting(None, 500), waiting(None, None)] == ["1,200", "up to 500", "unknown"]
