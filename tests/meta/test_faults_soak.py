"""Which samples of a soak count as flat."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.faults.soak import Sample, Soak

STEADY: dict[str, float] = {
    "resident_bytes": 100_000_000,
    "open_files": 60,
    "threads": 7,
    "tasks": 90,
    "oldest_seconds": 2.0,
}


def soaked(changed: Mapping[str, float], *, rows: int = 20) -> Soak:
    """Thirty samples. In the last ten, some values differ."""
    samples: list[Any] = [{**STEADY, **(changed if number >= 20 else {})} for number in range(30)]
    return Soak([Sample(at=10.0 * number, pid=1, **sample) for number, sample in enumerate(samples)], [20, 20, rows])


def test_constant_values_break_no_limit() -> None:
    assert soaked({}).problems() == []


def test_a_small_increase_breaks_no_limit() -> None:
    assert soaked({"resident_bytes": 120_000_000, "open_files": 70, "oldest_seconds": 12.0}).problems() == []


@pytest.mark.parametrize("name", ["resident_bytes", "open_files", "threads", "tasks"])
def test_a_value_that_keeps_growing_is_a_problem(name: str) -> None:
    [problem] = soaked({name: 2 * STEADY[name]}).problems()
    assert problem.startswith(f"{name} grew")


def test_an_event_that_stays_unsettled_is_a_problem() -> None:
    assert soaked({"oldest_seconds": 70.0}).problems() == ["an event was unsettled for 70 s"]


def test_more_rows_than_possible_lanes_are_a_problem() -> None:
    [problem] = soaked({}, rows=33).problems()
    assert problem == "there were 33 cursor rows for 32 subscriptions"


def test_the_summary_has_two_thirds_of_the_run_and_the_maximum() -> None:
    found = soaked({"tasks": 120}).summary()
    assert found["tasks"] == {"first": 90, "last": 120, "most": 120}
    assert found["rows"] == {"first": 20, "last": 20, "most": 20}
    assert found["samples"] == 30
